/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "cmd/display.h"

static void a_display_is_applied_to_what_was_there(void **state)
{
	static const struct {
		const char *text;
		uint32_t width, height;
		enum display_unit unit;
	} cases[] = {
		{ "1234x5678", 1234, 5678, UNIT_PT }, /* no unit: it stays */
		{ "1234x5678px", 1234, 5678, UNIT_PX }, { "1234x5678pt", 1234, 5678, UNIT_PT },
		{ "1920x", 1920, 768, UNIT_PT },	{ "x1080", 1024, 1080, UNIT_PT },
		{ "foo", 1024, 768, UNIT_PT },		{ "", 1024, 768, UNIT_PT },
		{ "0x0px", 1024, 768, UNIT_PX },	{ "-5x7", 1024, 7, UNIT_PT },
		{ "65535x1", 65535, 1, UNIT_PT },	{ "1x2x3", 1, 768, UNIT_PT },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct config config = { .display_width = 1024,
					 .display_height = 768,
					 .display_unit = UNIT_PT };
		struct error err = ERROR_INIT;

		assert_int_equal(display_apply(cases[i].text, &config, &err), 0);
		assert_int_equal(config.display_width, cases[i].width);
		assert_int_equal(config.display_height, cases[i].height);
		assert_int_equal(config.display_unit, cases[i].unit);
	}
}

static void more_than_any_screen_is_refused(void **state)
{
	static const char *const cases[] = { "65536x1", "1x65536px", "99999999999999999999x1" };

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct config config = { .display_width = 1024, .display_height = 768 };
		struct error err = ERROR_INIT;

		assert_int_equal(display_apply(cases[i], &config, &err), -E_USAGE);
		assert_int_equal(config.display_width, 1024);
		assert_int_equal(config.display_unit, UNIT_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_display_is_applied_to_what_was_there),
		cmocka_unit_test(more_than_any_screen_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
