/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <string.h>

#include "base/str.h"

enum { SCREEN = 80, TERM_COLUMN = 2, HELP_COLUMN = 28, USAGE_MAX = 80, PRINTABLE_MAX = 200 };

/* How long the control character at @text is; 0: there is none. U+009B is CSI, in UTF-8, too. */
static size_t control_length(const char *text)
{
	const unsigned char *c = (const unsigned char *)text;

	if (*c < ' ' || *c == 0x7f)
		return 1;
	return c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f ? 2 : 0;
}

static void add_harmless(struct str *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t control = control_length(text + i);

		str_addc(out, (char)(control ? '?' : text[i]));
		i += control ? control : 1;
	}
}

void str_add_harmless(struct str *out, const char *text)
{
	add_harmless(out, text, strlen(text));
}

void str_add_printable(struct str *out, const char *text)
{
	size_t len = strnlen(text, PRINTABLE_MAX + 1);

	add_harmless(out, text, len < PRINTABLE_MAX ? len : PRINTABLE_MAX);
	if (len > PRINTABLE_MAX)
		str_adds(out, "...");
}

const char *option_value_name(const struct option *option)
{
	return option->value ? option->value : option->name;
}

void argument_add_term(const struct argument *argument, struct str *out)
{
	bool many = argument->kind == ARGUMENT_MANY || argument->kind == ARGUMENT_VERBATIM;

	str_addf(out, many ? "<%s> ..." : "<%s>", argument->name);
}

/* "--name <value>", "--name/--no-name" */
static void add_option_term(struct str *out, const struct option *o)
{
	if (o->flags & OPTION_LETTER)
		str_addf(out, "-%c", o->letter);
	else
		str_addf(out, "--%s", o->name);
	if (o->kind == OPTION_SWITCH)
		str_addf(out, "/--no-%s", o->name);
	else if (o->kind != OPTION_FLAG)
		str_addf(out, " <%s>", option_value_name(o));
}

static bool is_shown(const struct option *o, bool hidden)
{
	return !(o->flags & OPTION_PRIVATE) &&
	       (hidden || !(o->flags & (OPTION_HIDDEN | OPTION_RARE)));
}

static void add_usage_options(struct str *out, const struct command *command)
{
	for (const struct option *o = command->options; o && o->name; o++) {
		if (o->flags & (OPTION_HIDDEN | OPTION_PRIVATE))
			continue;
		str_adds(out, " [");
		add_option_term(out, o);
		str_adds(out, o->kind == OPTION_STRINGS ? " ...]" : "]");
	}
}

static void add_usage_arguments(struct str *out, const struct command *command)
{
	for (const struct argument *a = command->arguments; a && a->name; a++) {
		str_adds(out, a->kind == ARGUMENT_OPTIONAL ? " [" : " ");
		argument_add_term(a, out);
		str_adds(out, a->kind == ARGUMENT_OPTIONAL ? "]" : "");
	}
}

static void add_usage_line(struct str *out, const char *program, const struct command *command)
{
	auto_str start = STR_INIT;
	auto_str options = STR_INIT;
	auto_str arguments = STR_INIT;

	if (!command) {
		str_addf(out, "Usage: %s <subcommand>\n", program);
		return;
	}
	str_addf(&start, "Usage: %s %s", program, command->name);
	add_usage_options(&options, command);
	add_usage_arguments(&arguments, command);
	str_addf(out, "%s%s%s\n", start.ptr,
		 start.len + options.len + arguments.len > USAGE_MAX ? " [<options>]" : options.ptr,
		 arguments.ptr);
}

void help_add_usage(struct str *out, const char *program, const struct command *command)
{
	add_usage_line(out, program, command);
	str_addf(out, "  See '%s %s%s--help' for more information.\n", program,
		 command ? command->name : "", command ? " " : "");
}

static void add_spaces(struct str *out, size_t n)
{
	while (n--)
		str_addc(out, ' ');
}

/* Append @text from column @at on, broken between words at the edge of the screen. */
static void add_wrapped(struct str *out, const char *text, size_t at, size_t indent)
{
	bool first = true;

	while (*text) {
		size_t word = strcspn(text, " ");

		if (!first && at + 1 + word > SCREEN) {
			str_addc(out, '\n');
			add_spaces(out, indent);
			at = indent;
			first = true;
		}
		if (!first)
			str_addc(out, ' ');
		str_add(out, text, word);
		at += word + !first;
		first = false;
		text += word + strspn(text + word, " ");
	}
	str_addc(out, '\n');
}

static void add_entry(struct str *out, const char *term, const char *help)
{
	size_t used = TERM_COLUMN + strlen(term);

	add_spaces(out, TERM_COLUMN);
	str_adds(out, term);
	if (!help) {
		str_addc(out, '\n');
		return;
	}
	if (used + 2 > HELP_COLUMN) {
		str_addc(out, '\n');
		used = 0;
	}
	add_spaces(out, HELP_COLUMN - used);
	add_wrapped(out, help, HELP_COLUMN, HELP_COLUMN);
}

static void add_option(struct str *out, const struct option *o)
{
	auto_str term = STR_INIT;

	if (o->letter && !(o->flags & OPTION_LETTER))
		str_addf(&term, "-%c, ", o->letter);
	add_option_term(&term, o);
	add_entry(out, term.ptr, o->help);
}

static void add_arguments(struct str *out, const struct command *command)
{
	if (!command->arguments || !command->arguments->name)
		return;
	str_adds(out, "\nArguments:\n");
	for (const struct argument *a = command->arguments; a->name; a++) {
		auto_str term = STR_INIT;

		argument_add_term(a, &term);
		add_entry(out, term.ptr, a->help);
	}
}

/* Nobody shall think that what fits the screen is all. */
static void add_more(struct str *out, const char *program, const struct command *command)
{
	size_t more = 0;

	for (const struct option *o = command->options; o && o->name; o++)
		more += (o->flags & OPTION_RARE) != 0;
	if (more)
		str_addf(out, "And %zu more: see '%s %s --help-hidden'.\n", more, program,
			 command->name);
}

void help_add_command(struct str *out, const char *program, const struct command *command,
		      bool hidden)
{
	add_wrapped(out, command->summary, 0, 0);
	if (command->discussion) {
		str_addc(out, '\n');
		add_wrapped(out, command->discussion, 0, 0);
	}
	str_addc(out, '\n');
	add_usage_line(out, program, command);
	add_arguments(out, command);
	str_adds(out, "\nOptions:\n");
	for (const struct option *o = command->options; o && o->name; o++)
		if (is_shown(o, hidden))
			add_option(out, o);
	add_entry(out, "--version", "Show the version.");
	add_entry(out, "-h, --help", "Show this help.");
	if (!hidden)
		add_more(out, program, command);
}

void help_add_root(struct str *out, const char *program, const struct command *const *commands,
		   bool hidden)
{
	add_usage_line(out, program, NULL);
	str_adds(out, "\nSubcommands:\n");
	for (; *commands; commands++)
		if (hidden || !((*commands)->flags & COMMAND_HIDDEN))
			add_entry(out, (*commands)->name, (*commands)->summary);
	str_addf(out,
		 "\nOptions: --version, --help, --generate-completion-script bash|zsh|fish\n"
		 "See '%s help <subcommand>' for a subcommand's own.\n",
		 program);
}
