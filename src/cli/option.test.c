/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "cli/option.h"

struct args {
	bool flag, interactive, tty;
	int refit;
	struct optional_number cpu, memory, chunk;
	const char *display;
	struct strings disks;
	int format, loose;
	const char *name, *extra;
};

static const char *const formats[] = { "text", "json", NULL };
static const char *const three[] = { "a", "b", "c", NULL };

#define AT(member) .offset = offsetof(struct args, member)
static const struct option options[] = {
	{ .name = "flag", .kind = OPTION_FLAG, AT(flag), .help = "A flag." },
	{ .name = "interactive", .letter = 'i', .kind = OPTION_FLAG, AT(interactive) },
	{ .name = "tty", .letter = 't', .kind = OPTION_FLAG, AT(tty) },
	{ .name = "refit", .kind = OPTION_SWITCH, AT(refit) },
	{ .name = "cpu", .letter = 'c', .kind = OPTION_U16, AT(cpu), .help = "Number of CPUs." },
	{ .name = "memory", .kind = OPTION_U64, AT(memory) },
	{ .name = "chunk", .kind = OPTION_INT, AT(chunk) },
	{ .name = "display", .kind = OPTION_STRING, AT(display), .value = "size" },
	{ .name = "disk", .kind = OPTION_STRINGS, AT(disks) },
	{ .name = "format", .kind = OPTION_CHOICE, .choices = formats, AT(format) },
	{ .name = "loose",
	  .kind = OPTION_CHOICE,
	  .choices = three,
	  .flags = OPTION_ANY_CASE | OPTION_HIDDEN,
	  AT(loose) },
	{ 0 },
};
static const struct argument arguments[] = {
	{ .name = "name", AT(name), .help = "VM name." },
	{ .name = "extra", .kind = ARGUMENT_OPTIONAL, AT(extra) },
	{ 0 },
};
static const struct command command = {
	.name = "try", .options = options, .arguments = arguments, .args_size = sizeof(struct args)
};

struct words_args {
	bool interactive;
	const char *name;
	struct strings words;
};
static const struct option exec_options[] = {
	{ .name = "interactive",
	  .letter = 'i',
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct words_args, interactive) },
	{ 0 },
};
static const struct argument exec_arguments[] = {
	{ .name = "name", .offset = offsetof(struct words_args, name) },
	{ .name = "command",
	  .kind = ARGUMENT_VERBATIM,
	  .offset = offsetof(struct words_args, words) },
	{ 0 },
};
static const struct command exec_command = { .name = "exec",
					     .options = exec_options,
					     .arguments = exec_arguments };
static const struct argument many_arguments[] = {
	{ .name = "name",
	  .kind = ARGUMENT_MANY,
	  .offset = offsetof(struct words_args, words),
	  .help = "VMs." },
	{ 0 },
};
static const struct command many_command = { .name = "delete", .arguments = many_arguments };

enum { WORDS_MAX = 16 };

/* Parse the words of @line, which single spaces separate ("" is an empty word). */
static int parse(const struct command *c, const char *line, void *args, struct error *err)
{
	static char copy[1024];
	char *words[WORDS_MAX] = { copy };
	int count = *line ? 1 : 0;

	memcpy(copy, line, strlen(line) + 1);
	for (char *p = copy; *p; p++)
		if (*p == ' ') {
			*p = '\0';
			assert_in_range(count, 0, WORDS_MAX - 1);
			words[count++] = p + 1;
		}
	return option_parse(c, count, words, args, err);
}

/* Parsing @line fails with exactly @text. */
static void fails(const struct command *c, const char *line, const char *text)
{
	struct error err = ERROR_INIT;
	union {
		struct args args;
		struct words_args words;
	} u;

	memset(&u, 0, sizeof(u));
	assert_int_equal(parse(c, line, &u, &err), -E_USAGE);
	assert_string_equal(err.text, text);
	option_release_args(c, &u);
}

static struct args parsed(const char *line)
{
	struct error err = ERROR_INIT;
	struct args args;

	memset(&args, 0, sizeof(args));
	args.refit = -1;
	assert_int_equal(parse(&command, line, &args, &err), 0);
	return args;
}

static void options_stand_before_between_and_after_arguments(void **state)
{
	static const char *const lines[] = { "--flag --cpu 4 vm more", "vm --cpu=4 more --flag",
					     "vm --flag more --cpu 4", "vm more -c 4 --flag",
					     "-c4 vm -- more --flag" };

	(void)state;
	for (size_t i = 0; i < array_size(lines) - 1; i++) {
		struct args args = parsed(lines[i]);

		assert_true(args.flag);
		assert_true(args.cpu.given);
		assert_int_equal(args.cpu.value, 4);
		assert_string_equal(args.name, "vm");
		assert_string_equal(args.extra, "more");
	}
	fails(&command, lines[array_size(lines) - 1], "Unexpected argument '--flag'");
}

static void two_dashes_end_the_options(void **state)
{
	struct args args = parsed("-- --flag");

	(void)state;
	assert_false(args.flag);
	assert_string_equal(args.name, "--flag");
	args = parsed("-");
	assert_string_equal(args.name, "-");
}

static void letters_can_be_packed(void **state)
{
	struct args args = parsed("-it vm");

	(void)state;
	assert_true(args.interactive && args.tty);
	args = parsed("-itc 3 vm");
	assert_true(args.interactive && args.tty && args.cpu.value == 3);
	args = parsed("-c=3 vm");
	assert_int_equal(args.cpu.value, 3);
	fails(&command, "-ix vm", "Unknown option '-x'");
}

static void a_switch_has_three_states(void **state)
{
	(void)state;
	assert_int_equal(parsed("vm").refit, -1);
	assert_int_equal(parsed("vm --refit").refit, 1);
	assert_int_equal(parsed("vm --no-refit").refit, 0);
	assert_int_equal(parsed("vm --refit --no-refit").refit, 0);
	fails(&command, "vm --no-flag", "Unknown option '--no-flag'");
}

static void repeated_options(void **state)
{
	struct args args = parsed("--disk a vm --disk=b:ro --disk=--odd --cpu 1 --cpu 2");

	(void)state;
	assert_int_equal(args.disks.len, 3);
	assert_string_equal(args.disks.items[1], "b:ro");
	assert_string_equal(args.disks.items[2], "--odd");
	assert_int_equal(args.cpu.value, 2);
	option_release_args(&command, &args);
}

static void numbers_have_limits(void **state)
{
	struct args args = parsed("vm --cpu 65535 --memory 18446744073709551615 --chunk=-5");

	(void)state;
	assert_int_equal(args.cpu.unsigned_value, 65535);
	assert_true(args.memory.unsigned_value == UINT64_MAX);
	assert_true(args.memory.value == INT64_MAX);
	assert_int_equal(args.chunk.value, -5);
	fails(&command, "vm --cpu 65536",
	      "The value '65536' is invalid for '--cpu <cpu>'\nHelp:  --cpu <cpu>  Number of "
	      "CPUs.");
	fails(&command, "vm -c x",
	      "The value 'x' is invalid for '-c <cpu>'\nHelp:  --cpu <cpu>  Number of CPUs.");
	fails(&command, "vm --memory 18446744073709551616",
	      "The value '18446744073709551616' is invalid for '--memory <memory>'");
	fails(&command, "vm --memory=-1", "The value '-1' is invalid for '--memory <memory>'");
	fails(&command, "vm --memory=", "The value '' is invalid for '--memory <memory>'");
	fails(&command, "vm --chunk=9223372036854775808",
	      "The value '9223372036854775808' is invalid for '--chunk <chunk>'");
	fails(&command, "vm --chunk=--5", "The value '--5' is invalid for '--chunk <chunk>'");
}

static void choices_are_named_in_the_message(void **state)
{
	(void)state;
	assert_int_equal(parsed("vm").format, 0);
	assert_int_equal(parsed("vm --format json").format, 1);
	assert_int_equal(parsed("vm --loose C").loose, 2);
	fails(&command, "vm --format JSON",
	      "The value 'JSON' is invalid for '--format <format>'. "
	      "Please provide one of 'text' or 'json'.");
	fails(&command, "vm --loose d",
	      "The value 'd' is invalid for '--loose <loose>'. "
	      "Please provide one of 'a', 'b' or 'c'.");
}

static void a_value_must_be_there(void **state)
{
	(void)state;
	fails(&command, "vm --display", "Missing value for '--display <size>'");
	fails(&command, "vm --display --flag", "Missing value for '--display <size>'");
	fails(&command, "vm --cpu -1",
	      "Missing value for '--cpu <cpu>'\nHelp:  --cpu <cpu>  Number of CPUs.");
	assert_string_equal(parsed("vm --display=").display, "");
	assert_string_equal(parsed("vm --display=-x").display, "-x");
	assert_string_equal(parsed("vm --display -").display, "-");
	fails(&command, "vm --flag=yes",
	      "The option '--flag' does not take any value, but 'yes' was specified.");
}

static void unknown_options_get_a_suggestion(void **state)
{
	(void)state;
	fails(&command, "vm --frmat json", "Unknown option '--frmat'. Did you mean '--format'?");
	fails(&command, "vm --fromat=json", "Unknown option '--fromat'. Did you mean '--format'?");
	fails(&command, "vm --frmat=json", "Unknown option '--frmat'. Did you mean '--format'?");
	fails(&command, "vm --looze a", "Unknown option '--looze'"); /* hidden: not suggested */
	fails(&command, "vm --entirely-different", "Unknown option '--entirely-different'");
	fails(&command, "vm -5", "Unknown option '-5'");
	fails(&many_command, "vm --quiet", "Unknown option '--quiet'");
}

static void arguments_are_counted(void **state)
{
	(void)state;
	fails(&command, "", "Missing expected argument '<name>'\nHelp:  <name>  VM name.");
	fails(&command, "a b c", "Unexpected argument 'c'");
	fails(&command, "a b c d", "2 unexpected arguments: 'c', 'd'");
	fails(&many_command, "", "Missing expected argument '<name> ...'\nHelp:  <name> ...  VMs.");
	fails(&exec_command, "", "Missing expected argument '<name>'");
	fails(&exec_command, "vm", "Missing expected argument '<command> ...'");
}

static void verbatim_takes_everything_that_follows(void **state)
{
	static const char *const expected[] = { "--", "ls", "-l", "--help", "-i" };
	struct words_args args = { 0 };
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parse(&exec_command, "vm -- ls -l --help -i", &args, &err), 0);
	assert_false(args.interactive);
	assert_int_equal(args.words.len, array_size(expected));
	for (size_t i = 0; i < array_size(expected); i++)
		assert_string_equal(args.words.items[i], expected[i]);
	option_release_args(&exec_command, &args);
	args = (struct words_args){ 0 };
	assert_int_equal(parse(&exec_command, "-i vm sh", &args, &err), 0);
	assert_true(args.interactive);
	option_release_args(&exec_command, &args);
}

static void many_takes_all_plain_words(void **state)
{
	struct words_args args = { 0 };
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parse(&many_command, "a b -- --c", &args, &err), 0);
	assert_int_equal(args.words.len, 3);
	assert_string_equal(args.words.items[2], "--c");
	option_release_args(&many_command, &args);
}

static void help_wins_over_mistakes(void **state)
{
	static const struct {
		const char *line;
		int answer;
	} cases[] = { { "--help", 1 },
		      { "-h", 1 },
		      { "--nonsense x --help", 1 },
		      { "vm -ih", 1 },
		      { "--help-hidden", 2 },
		      { "--version", 3 },
		      { "--cpu x --version", 3 },
		      { "a b c d --help --version", 1 } };

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct error err = ERROR_INIT;
		struct args args = { 0 };

		assert_int_equal(parse(&command, cases[i].line, &args, &err), cases[i].answer);
		option_release_args(&command, &args);
	}
	fails(&command, "vm more -- --help", "Unexpected argument '--help'");
}

static void the_first_mistake_is_reported(void **state)
{
	(void)state;
	fails(&command, "--one --cpu x --two a b c", "Unknown option '--one'");
}

static void what_was_typed_cannot_break_the_line(void **state)
{
	static char escape[] = "--x\n\x1b[2J";
	static char *words[] = { escape };
	struct error err = ERROR_INIT;
	struct args args = { 0 };

	(void)state;
	assert_int_equal(option_parse(&command, 1, words, &args, &err), -E_USAGE);
	assert_string_equal(err.text, "Unknown option '--x??[2J'");
}

static void a_long_word_is_cut(void **state)
{
	char line[1000];
	struct error err = ERROR_INIT;
	struct args args = { 0 };

	(void)state;
	memset(line, 'a', sizeof(line) - 1);
	memcpy(line, "a b ", 4);
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(parse(&command, line, &args, &err), -E_USAGE);
	assert_true(strlen(err.text) < 250);
	assert_non_null(strstr(err.text, "...'"));
	line[2] = line[3] = '-';
	line[1] = ' ';
	assert_int_equal(parse(&command, line, &args, &err), -E_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_before_between_and_after_arguments),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(letters_can_be_packed),
		cmocka_unit_test(a_switch_has_three_states),
		cmocka_unit_test(repeated_options),
		cmocka_unit_test(numbers_have_limits),
		cmocka_unit_test(choices_are_named_in_the_message),
		cmocka_unit_test(a_value_must_be_there),
		cmocka_unit_test(unknown_options_get_a_suggestion),
		cmocka_unit_test(arguments_are_counted),
		cmocka_unit_test(verbatim_takes_everything_that_follows),
		cmocka_unit_test(many_takes_all_plain_words),
		cmocka_unit_test(help_wins_over_mistakes),
		cmocka_unit_test(the_first_mistake_is_reported),
		cmocka_unit_test(what_was_typed_cannot_break_the_line),
		cmocka_unit_test(a_long_word_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
