/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/vec.h"

DEFINE_VEC(numbers, uint64_t)

static void a_typed_vector_grows(void **state)
{
	struct numbers v = VEC_INIT;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++)
		numbers_add(&v, i * i);
	assert_int_equal(v.len, 1000);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(v.items[i], i * i);
	numbers_release(&v);
	assert_null(v.items);
	assert_int_equal(v.len, 0);
}

static void strings_are_copied_taken_and_formatted(void **state)
{
	auto_strings v = VEC_INIT;
	char name[] = "one";

	(void)state;
	strings_add(&v, name);
	name[0] = 'X';
	strings_take(&v, xstrdup("two"));
	strings_addf(&v, "%s-%d-%0300d", "three", 3, 0);
	strings_take(&v, NULL);
	assert_int_equal(v.len, 4);
	assert_string_equal(v.items[0], "one");
	assert_string_equal(v.items[1], "two");
	assert_int_equal(strlen(v.items[2]), 8 + 300);
	assert_null(v.items[3]);
}

static void sorting_is_by_byte_value(void **state)
{
	auto_strings v = VEC_INIT;

	(void)state;
	strings_sort(&v);
	strings_add(&v, "b");
	strings_add(&v, "\xc3\xa4");
	strings_add(&v, "");
	strings_add(&v, "B");
	strings_sort(&v);
	assert_string_equal(v.items[0], "");
	assert_string_equal(v.items[1], "B");
	assert_string_equal(v.items[2], "b");
	assert_string_equal(v.items[3], "\xc3\xa4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_typed_vector_grows),
		cmocka_unit_test(strings_are_copied_taken_and_formatted),
		cmocka_unit_test(sorting_is_by_byte_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
