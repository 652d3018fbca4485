/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"

static void assert_relative(time_t when, time_t now, const char *expected)
{
	auto_str text = STR_INIT;

	clock_add_relative(&text, when, now);
	assert_string_equal(text.ptr, expected);
}

static void relative_text_names_the_largest_unit(void **state)
{
	(void)state;
	assert_relative(1000, 1000, "in 0 seconds");
	assert_relative(1000, 1001, "1 second ago");
	assert_relative(1000, 1059, "59 seconds ago");
	assert_relative(1000, 1060, "1 minute ago");
	assert_relative(1000, 1000 + 3599, "59 minutes ago");
	assert_relative(1000, 1000 + 7200, "2 hours ago");
	assert_relative(1000, 1000 + 86400, "1 day ago");
	assert_relative(1000, 1000 + 7 * 86400, "1 week ago");
	assert_relative(1000, 1000 + 30 * 86400, "1 month ago");
	assert_relative(1000, 1000 + 730 * 86400L, "2 years ago");
	assert_relative(1005, 1000, "in 5 seconds");
	assert_relative(1060, 1000, "in 1 minute");
}

/* A time stamp can come from a hostile archive. */
static void relative_text_survives_any_time(void **state)
{
	auto_str text = STR_INIT;

	(void)state;
	clock_add_relative(&text, INT64_MIN, INT64_MAX);
	assert_true(str_ends(text.ptr, " years ago"));
	str_reset(&text);
	clock_add_relative(&text, INT64_MAX, INT64_MIN);
	assert_true(str_starts(text.ptr, "in "));
	str_reset(&text);
	clock_add_relative(&text, INT64_MIN, 0);
	assert_true(str_ends(text.ptr, " years ago"));
}

static void assert_iso8601(time_t when, const char *expected)
{
	auto_str text = STR_INIT;

	clock_add_iso8601(&text, when);
	assert_string_equal(text.ptr, expected);
}

static void iso8601_is_utc(void **state)
{
	(void)state;
	assert_int_equal(setenv("TZ", "America/New_York", 1), 0);
	tzset();
	assert_iso8601(0, "1970-01-01T00:00:00Z");
	assert_iso8601(1778622318, "2026-05-12T21:45:18Z");
	assert_iso8601(-1, "1969-12-31T23:59:59Z");
	assert_iso8601(INT64_MAX, "1970-01-01T00:00:00Z"); /* has no calendar date */
	assert_int_equal(unsetenv("TZ"), 0);
}

static void monotonic_time_grows_by_at_least_a_sleep(void **state)
{
	uint64_t before = clock_ms();

	(void)state;
	clock_sleep_ms(20);
	assert_true(clock_ms() >= before + 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relative_text_names_the_largest_unit),
		cmocka_unit_test(relative_text_survives_any_time),
		cmocka_unit_test(iso8601_is_utc),
		cmocka_unit_test(monotonic_time_grows_by_at_least_a_sleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
