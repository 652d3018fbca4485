/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "cli/table.h"

static const char *const headers[] = { "Source", "Name", "State" };

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
	auto_table table = { 0 };
	auto_str out = STR_INIT;

	(void)state;
	table_init(&table, headers, 3);
	table_add(&table, "local");
	table_addf(&table, "%s-%d", "debian", 12);
	table_add(&table, "stopped");
	table_add(&table, "local");
	table_add(&table, "x");
	table_add(&table, "running");
	table_format(&table, &out);
	/* the last column is padded too, but for the very end */
	assert_string_equal(out.ptr, "Source Name      State  \n"
				     "local  debian-12 stopped\n"
				     "local  x         running\n");
}

static void the_end_is_trimmed(void **state)
{
	auto_table table = { 0 };
	auto_str out = STR_INIT;

	(void)state;
	table_init(&table, headers + 1, 2);
	table_add(&table, "a");
	table_add(&table, "");
	table_format(&table, &out);
	assert_string_equal(out.ptr, "Name State\na\n");
}

static void without_rows_it_is_an_empty_line(void **state)
{
	auto_table table = { 0 };
	auto_str out = STR_INIT;

	(void)state;
	table_init(&table, headers, 3);
	table_format(&table, &out);
	assert_string_equal(out.ptr, "\n");
}

static void width_counts_characters_and_control_bytes_are_harmless(void **state)
{
	auto_table table = { 0 };
	auto_str out = STR_INIT;

	(void)state;
	table_init(&table, headers + 1, 2);
	table_add(&table, "b\xc3\xbc");
	table_add(&table, "1");
	table_add(&table, "\x1b[2J\n");
	table_add(&table, "2");
	table_format(&table, &out);
	assert_string_equal(out.ptr, "Name  State\nb\xc3\xbc    1    \n?[2J? 2\n");
}

static void sizes_are_decimal_with_one_digit_where_it_helps(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = { { 0, "0 bytes" },		{ 999, "999 bytes" },
		      { 1000, "1 kB" },		{ 1500000, "1.5 MB" },
		      { 10000000000, "10 GB" }, { 999999999999, "999 GB" },
		      { 2531000000, "2.5 GB" }, { UINT64_MAX, "18.4 EB" } };

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_str out = STR_INIT;

		size_add(&out, cases[i].bytes);
		assert_string_equal(out.ptr, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
		cmocka_unit_test(the_end_is_trimmed),
		cmocka_unit_test(without_rows_it_is_an_empty_line),
		cmocka_unit_test(width_counts_characters_and_control_bytes_are_harmless),
		cmocka_unit_test(sizes_are_decimal_with_one_digit_where_it_helps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
