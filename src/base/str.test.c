/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/str.h"

static void an_empty_string_is_a_c_string(void **state)
{
	auto_str s = STR_INIT;

	(void)state;
	assert_string_equal(s.ptr, "");
	str_reset(&s);
	str_chop(&s, 0);
	str_consume(&s, 0);
	str_add(&s, NULL, 0);
	assert_int_equal(s.len, 0);
	assert_string_equal(str_empty_, ""); /* shared: nobody may write to it */
}

static void appending_keeps_a_nul_behind_the_content(void **state)
{
	auto_str s = STR_INIT;

	(void)state;
	str_adds(&s, "ab");
	str_addc(&s, 'c');
	str_addf(&s, "-%d-%s", 42, "x");
	assert_string_equal(s.ptr, "abc-42-x");
	for (int i = 0; i < 1000; i++) {
		str_addc(&s, 'y');
		assert_int_equal(s.ptr[s.len], '\0');
		assert_true(s.len < s.cap);
	}
	assert_int_equal(s.len, 1008);
}

static void content_may_hold_nul_bytes(void **state)
{
	auto_str s = STR_INIT;

	(void)state;
	str_add(&s, "a\0b", 3);
	assert_int_equal(s.len, 3);
	assert_memory_equal(s.ptr, "a\0b", 4);
}

static void consume_and_chop_remove_from_the_ends(void **state)
{
	auto_str s = STR_INIT;

	(void)state;
	str_adds(&s, "abcdef");
	str_consume(&s, 2);
	assert_string_equal(s.ptr, "cdef");
	str_chop(&s, 1);
	assert_string_equal(s.ptr, "cde");
	str_consume(&s, 3);
	assert_string_equal(s.ptr, "");
}

static void detach_gives_the_content_away(void **state)
{
	auto_str s = STR_INIT;
	auto_free char *none = str_detach(&s);
	auto_free char *some = NULL;

	(void)state;
	assert_string_equal(none, "");
	str_adds(&s, "x");
	some = str_detach(&s);
	assert_string_equal(some, "x");
	assert_int_equal(s.len, 0);
	str_adds(&s, "again");
	assert_string_equal(s.ptr, "again");
}

static void format_makes_a_string_of_any_length(void **state)
{
	auto_free char *empty = str_format("%s", "");
	auto_free char *wide = str_format("%5000d", 7);

	(void)state;
	assert_string_equal(empty, "");
	assert_int_equal(strlen(wide), 5000);
}

static void prefix_and_suffix(void **state)
{
	(void)state;
	assert_true(str_starts("disk.img", "disk"));
	assert_true(str_starts("x", ""));
	assert_false(str_starts("dis", "disk"));
	assert_true(str_ends("disk.img", ".img"));
	assert_true(str_ends("x", ""));
	assert_false(str_ends("img", ".img"));
}

static void numbers_are_digits_within_the_limit(void **state)
{
	static const char *const wrong[] = { "",    " 1",  "1 ",  "+1",	     "-1",
					     "0x1", "1.0", "1e3", "\xd9\xa1" };
	uint64_t v = 77;

	(void)state;
	for (size_t i = 0; i < array_size(wrong); i++)
		assert_int_equal(str_to_u64(wrong[i], UINT64_MAX, &v), -EINVAL);
	assert_int_equal(str_to_u64("18446744073709551616", UINT64_MAX, &v), -ERANGE);
	assert_int_equal(str_to_u64("99999999999999999999999", UINT64_MAX, &v), -ERANGE);
	assert_int_equal(str_to_u64("65536", 65535, &v), -ERANGE);
	assert_int_equal(str_to_u64("99999999999999999999999x", UINT64_MAX, &v), -EINVAL);
	assert_int_equal(v, 77);
	assert_int_equal(str_to_u64("18446744073709551615", UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(str_to_u64("007", 7, &v), 0);
	assert_int_equal(v, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_string_is_a_c_string),
		cmocka_unit_test(appending_keeps_a_nul_behind_the_content),
		cmocka_unit_test(content_may_hold_nul_bytes),
		cmocka_unit_test(consume_and_chop_remove_from_the_ends),
		cmocka_unit_test(detach_gives_the_content_away),
		cmocka_unit_test(format_makes_a_string_of_any_length),
		cmocka_unit_test(prefix_and_suffix),
		cmocka_unit_test(numbers_are_digits_within_the_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
