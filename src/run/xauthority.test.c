/* SPDX-License-Identifier: Apache-2.0 */
#include "run/xauthority.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

static void add_field(struct str *file, const char *text)
{
	str_addc(file, '\0');
	str_addc(file, (char)strlen(text));
	str_add(file, text, strlen(text));
}

static void add_entry(struct str *file, unsigned family, const char *address, const char *number,
		      const char *data)
{
	str_addc(file, (char)(family >> 8));
	str_addc(file, (char)(family & 0xff));
	add_field(file, address);
	add_field(file, number);
	add_field(file, "MIT-MAGIC-COOKIE-1");
	add_field(file, data);
}

static void fill(struct str *file)
{
	add_entry(file, 256, "here", "0", "desk");
	add_entry(file, 256, "here", "10", "ssh");
	add_entry(file, 256, "there", "0", "old name");
	add_entry(file, 0, "\x0a\x01\x01\x01", "0", "lan");
	add_entry(file, 65535, "", "0", "wild");
	add_entry(file, 256, "here", "", "any");
}

/* Of all entries those with the data @a, @b and @c, and nothing else, are picked for @text. */
static void assert_picked(const char *text, const char *const *wanted, size_t count)
{
	auto_str file = STR_INIT;
	auto_str out = STR_INIT;
	struct x_display display;
	size_t at = 0;

	fill(&file);
	assert_true(x_display_parse(text, &display));
	xauthority_pick(file.ptr, file.len, &display, "here", &out);
	for (size_t i = 0; i < count; i++) {
		const char *found =
			memmem(out.ptr + at, out.len - at, wanted[i], strlen(wanted[i]));

		assert_non_null(found);
		at = (size_t)(found - out.ptr) + strlen(wanted[i]);
	}
	assert_int_equal(at, out.len);
	at = 0;
	for (const char *p = out.ptr; (p = memmem(p, out.len - (size_t)(p - out.ptr), "MIT", 3));
	     p++)
		at++;
	assert_int_equal(at, count);
}

static void only_what_opens_the_display_is_picked(void **state)
{
	static const char *const local[] = { "desk", "wild", "any" };
	static const char *const ssh[] = { "ssh", "any" };
	static const char *const lan[] = { "lan", "wild" };

	(void)state;
	assert_picked(":0", local, 3);
	assert_picked("unix:0.0", local, 3);
	assert_picked("/tmp/x:0", local, 3);
	assert_picked("localhost:10.0", ssh, 2);
	assert_picked("10.1.1.1:0", lan, 2);
}

static void what_is_cut_off_ends_the_file(void **state)
{
	auto_str file = STR_INIT;
	const struct x_display display = { .local = true, .number = "0" };

	(void)state;
	add_entry(&file, 256, "here", "0", "one");
	size_t one = file.len;

	add_entry(&file, 256, "here", "0", "two");
	for (size_t len = 0; len < file.len; len++) {
		auto_str out = STR_INIT;

		xauthority_pick(file.ptr, len, &display, "here", &out);
		assert_int_equal(out.len, len < one ? 0 : one);
	}
}

static void what_is_no_display_is_refused(void **state)
{
	static const char *const wrong[] = {
		"", ":", "0", ":x", ":0x", ":0:", ":12345678", "here:"
	};
	struct x_display display;

	(void)state;
	for (size_t i = 0; i < array_size(wrong); i++)
		assert_false(x_display_parse(wrong[i], &display));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_opens_the_display_is_picked),
		cmocka_unit_test(what_is_cut_off_ends_the_file),
		cmocka_unit_test(what_is_no_display_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
