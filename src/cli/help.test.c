/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/str.h"
#include "cli/help.h"

static const struct option options[] = {
	{ .name = "size", .kind = OPTION_U16, .help = "Size in GB." },
	{ .name = "quiet", .letter = 'q', .kind = OPTION_FLAG, .help = "Only names." },
	{ .name = "refit", .kind = OPTION_SWITCH, .help = "Fit." },
	{ .name = "secret", .kind = OPTION_FLAG, .flags = OPTION_HIDDEN, .help = "Hidden." },
	{ .name = "private", .kind = OPTION_FLAG, .flags = OPTION_PRIVATE, .help = "Private." },
	{ 0 },
};
static const struct argument arguments[] = {
	{ .name = "name", .help = "VM name." },
	{ .name = "path", .kind = ARGUMENT_OPTIONAL, .help = "Where." },
	{ 0 },
};
static const struct command make = {
	.name = "make", .summary = "Make a VM", .options = options, .arguments = arguments
};
static const struct option many[] = {
	{ .name = "often", .kind = OPTION_FLAG, .help = "Wanted." },
	{ .name = "seldom", .kind = OPTION_FLAG, .flags = OPTION_RARE, .help = "Hardly." },
	{ .name = "never", .kind = OPTION_FLAG, .flags = OPTION_HIDDEN, .help = "Hidden." },
	{ 0 },
};
static const struct command much = { .name = "much", .summary = "Do much", .options = many };
static const struct command none = { .name = "none", .summary = "Do nothing" };
static const struct command hidden = { .name = "hid", .summary = "?", .flags = COMMAND_HIDDEN };
static const struct command *const commands[] = { &make, &hidden, &none, NULL };

static void usage_names_all_options_where_they_fit(void **state)
{
	auto_str out = STR_INIT;

	(void)state;
	help_add_usage(&out, "tart", &make);
	assert_string_equal(out.ptr, "Usage: tart make [--size <size>] [--quiet] "
				     "[--refit/--no-refit] <name> [<path>]\n"
				     "  See 'tart make --help' for more information.\n");
}

static void usage_of_the_program(void **state)
{
	auto_str out = STR_INIT;

	(void)state;
	help_add_usage(&out, "tart", NULL);
	assert_string_equal(out.ptr, "Usage: tart <subcommand>\n"
				     "  See 'tart --help' for more information.\n");
}

static void what_is_rare_is_counted_and_shown_when_asked_for(void **state)
{
	auto_str shown = STR_INIT;
	auto_str all = STR_INIT;

	(void)state;
	help_add_command(&shown, "linzer", &much, false);
	help_add_command(&all, "linzer", &much, true);
	assert_null(strstr(shown.ptr, "  --seldom"));
	assert_non_null(strstr(shown.ptr, "\nAnd 1 more: see 'linzer much --help-hidden'.\n"));
	assert_non_null(strstr(shown.ptr, "Usage: linzer much [--often] [--seldom]\n"));
	assert_non_null(strstr(all.ptr, "  --seldom"));
	assert_null(strstr(all.ptr, " more: "));
}

static void hidden_things_show_only_when_asked_for(void **state)
{
	auto_str shown = STR_INIT;
	auto_str all = STR_INIT;

	(void)state;
	help_add_command(&shown, "linzer", &make, false);
	help_add_command(&all, "linzer", &make, true);
	assert_non_null(strstr(shown.ptr, "-q, --quiet"));
	assert_null(strstr(shown.ptr, "secret"));
	assert_non_null(strstr(all.ptr, "--secret"));
	assert_null(strstr(all.ptr, "private"));
	str_reset(&shown);
	str_reset(&all);
	help_add_root(&shown, "linzer", commands, false);
	help_add_root(&all, "linzer", commands, true);
	assert_null(strstr(shown.ptr, "  hid "));
	assert_non_null(strstr(all.ptr, "  hid "));
	assert_true(strstr(shown.ptr, "make") < strstr(shown.ptr, "none"));
}

static void no_line_is_wider_than_the_screen(void **state)
{
	static const struct option wide[] = {
		{ .name = "a-very-long-option-name",
		  .kind = OPTION_STRING,
		  .help = "Words and words and words and words and words and words and words and "
			  "words and words and words and words." },
		{ 0 },
	};
	const struct command c = { .name = "x", .summary = "X", .options = wide };
	auto_str out = STR_INIT;
	size_t column = 0;

	(void)state;
	help_add_command(&out, "linzer", &c, false);
	for (const char *p = out.ptr; *p; p++) {
		column = *p == '\n' ? 0 : column + 1;
		assert_in_range(column, 0, 80);
	}
	assert_non_null(strstr(out.ptr, "\n                            Words and"));
}

static void what_a_person_typed_is_cut_and_made_printable(void **state)
{
	char text[400];
	auto_str out = STR_INIT;

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	text[0] = '\n';
	str_add_printable(&out, text);
	assert_int_equal(out.len, 203);
	assert_int_equal(out.ptr[0], '?');
	str_reset(&out);
	str_add_printable(&out, "");
	assert_string_equal(out.ptr, "");
	str_add_printable(&out, "a\033[2J\177\302\2332J\303\251");
	assert_string_equal(out.ptr, "a?[2J??2J\303\251");
	str_reset(&out);
	str_add_harmless(&out, text);
	assert_int_equal(out.len, sizeof(text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usage_names_all_options_where_they_fit),
		cmocka_unit_test(usage_of_the_program),
		cmocka_unit_test(what_is_rare_is_counted_and_shown_when_asked_for),
		cmocka_unit_test(hidden_things_show_only_when_asked_for),
		cmocka_unit_test(no_line_is_wider_than_the_screen),
		cmocka_unit_test(what_a_person_typed_is_cut_and_made_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
