/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "cli/complete.h"

static const char *const choices[] = { "raw", "asif", NULL };
static const struct option options[] = {
	{ .name = "format",
	  .letter = 'f',
	  .kind = OPTION_CHOICE,
	  .choices = choices,
	  .help = "It's [raw]: usually" },
	{ .name = "refit", .kind = OPTION_SWITCH, .help = "Fit." },
	{ .name = "image", .kind = OPTION_STRING, .value = "path" },
	{ .name = "secret", .kind = OPTION_FLAG, .flags = OPTION_HIDDEN },
	{ 0 },
};
static const struct argument arguments[] = {
	{ .name = "name", .kind = ARGUMENT_MANY, .completes = COMPLETES_VM },
	{ 0 },
};
static const struct command make = {
	.name = "make", .summary = "Make", .options = options, .arguments = arguments
};
static const struct command hidden = { .name = "hid", .summary = "?", .flags = COMMAND_HIDDEN };
static const struct command *const commands[] = { &make, &hidden, NULL };

static void every_shell_knows_the_verb_and_its_options(void **state)
{
	static const char *const shells[] = { "bash", "zsh", "fish" };

	(void)state;
	for (size_t i = 0; i < array_size(shells); i++) {
		auto_str out = STR_INIT;
		struct error err = ERROR_INIT;

		assert_int_equal(complete_add_script(&out, "my-vm", shells[i], commands, &err), 0);
		assert_non_null(strstr(out.ptr, "make"));
		assert_non_null(strstr(out.ptr, "format"));
		assert_non_null(strstr(out.ptr, "raw asif"));
		assert_non_null(strstr(out.ptr, "refit"));
		assert_non_null(strstr(out.ptr, "list --quiet --source local"));
		assert_null(strstr(out.ptr, "secret"));
		assert_null(strstr(out.ptr, "hid"));
	}
}

static void help_texts_are_quoted(void **state)
{
	auto_str zsh = STR_INIT;
	auto_str fish = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(complete_add_script(&zsh, "x", "zsh", commands, &err), 0);
	assert_non_null(
		strstr(zsh.ptr, "'--format[It'\\''s \\[raw\\]\\: usually]:format:(raw asif)'"));
	assert_int_equal(complete_add_script(&fish, "x", "fish", commands, &err), 0);
	assert_non_null(strstr(fish.ptr, "-d 'It'\\''s [raw]: usually'"));
}

static void other_shells_are_refused(void **state)
{
	auto_str out = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(complete_add_script(&out, "x", "tcsh", commands, &err), -E_USAGE);
	assert_non_null(strstr(err.text, "'bash', 'zsh' or 'fish'"));
	assert_int_equal(complete_add_script(&out, "x", NULL, commands, &err), -E_USAGE);
	assert_int_equal(out.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_shell_knows_the_verb_and_its_options),
		cmocka_unit_test(help_texts_are_quoted),
		cmocka_unit_test(other_shells_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
