/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/str.h"
#include "cli/terminal.h"

/* Whole, and byte by byte, @raw comes out as @shown. */
static void shows(const char *raw, const char *shown)
{
	struct terminal_filter whole = { 0 };
	struct terminal_filter pieces = { 0 };
	auto_str a = STR_INIT;
	auto_str b = STR_INIT;

	terminal_filter_add(&whole, raw, strlen(raw), &a);
	for (size_t i = 0; raw[i]; i++)
		terminal_filter_add(&pieces, raw + i, 1, &b);
	assert_string_equal(a.ptr, shown);
	assert_string_equal(b.ptr, shown);
}

static void text_passes(void **state)
{
	(void)state;
	shows("login:\tadmin\r\n", "login:\tadmin\n");
	shows("gr\xc3\xbc\xc3\x9f \xc2\xa9 \xe2\x82\xac",
	      "gr\xc3\xbc\xc3\x9f \xc2\xa9 \xe2\x82\xac");
}

static void sequences_are_dropped(void **state)
{
	(void)state;
	shows("[  \x1b[0;32mOK\x1b[0m  ]", "[  OK  ]");
	shows("a\x1b[2J\x1b[H\x1b[?25lb", "ab");
	shows("a\x1b(Bb\x1b"
	      "cc",
	      "abc");
	shows("a\x1b[1\x1b[2mb", "ab");
}

static void strings_are_dropped(void **state)
{
	(void)state;
	shows("a\x1b]0;title\x07"
	      "b",
	      "ab");
	shows("a\x1b]52;c;ZXZpbA==\x1b\\b", "ab");
	shows("a\x1bPq#0\x1b\\b\x1b_x\x1b[31mc", "abc");
	shows("a\x1b]0;never ended\nthe rest", "a\nthe rest");
}

static void control_characters_are_dropped(void **state)
{
	(void)state;
	shows("a\x07\x08\x0b\x0c\x0e\x7f"
	      "b",
	      "ab");
	shows("a\xc2\x9b"
	      "2Jb",
	      "a2Jb"); /* C1 CSI: without its lead it is plain text */
	shows("a\xc2\x1b[2Jb", "ab");
	shows("a\xc2\xc2\xa9", "a\xc2\xa9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_passes),
		cmocka_unit_test(sequences_are_dropped),
		cmocka_unit_test(strings_are_dropped),
		cmocka_unit_test(control_characters_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
