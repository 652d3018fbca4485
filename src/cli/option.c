/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/option.h"

#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/str.h"
#include "cli/help.h"

/*
 * Theory of operation
 * -------------------
 *
 * One pass over the words. The first mistake is remembered and the pass goes
 * on, because a request for help anywhere on the line wins over any mistake.
 * The pass ends early only at an ARGUMENT_VERBATIM, which swallows the rest.
 *
 * A word that starts with a dash (but is not "-" alone) is an option until
 * "--" was seen. What is missing at the end is reported last, so that a
 * misspelled option is not called a missing argument.
 */

enum { ASKED_HELP = 1, ASKED_HELP_HIDDEN = 2, ASKED_VERSION = 3 };

/* suggest nothing that is further away than this */
enum { SIMILAR_MAX = 3, SHORT = 4, MIDDLING = 8, NAME_MAX_COMPARED = 63 };

struct parser {
	const struct command *command;
	void *args;
	struct error *err;
	int failure; /* the first mistake's code, 0 if none yet */
	int asked;
	const struct argument *next; /* to be filled by the next plain word; NULL: none */
	bool filled; /* a repeating argument has one word at least */
	bool plain; /* "--" was seen */
	struct str unexpected;
	size_t unexpected_count;
};

static void *member(const struct parser *p, size_t offset)
{
	return (char *)p->args + offset;
}

static bool takes_value(const struct option *o)
{
	return o->kind != OPTION_FLAG && o->kind != OPTION_SWITCH;
}

/* Remember the first mistake; @what may have a help line of its own. */
static void fail(struct parser *p, const char *text, const char *term, const char *help)
{
	if (p->failure)
		return;
	p->failure = error_set(p->err, E_USAGE, "%s", text);
	if (help)
		(void)error_add_line(p->err, "Help:  %s  %s", term, help);
}

/* A mistake about an option, in the spelling that was used. */
static void fail_option(struct parser *p, const struct option *o, const char *spelling,
			const char *before, const char *after)
{
	auto_str text = STR_INIT;
	auto_str term = STR_INIT;

	str_addf(&text, "%s'%s <%s>'%s", before, spelling, option_value_name(o), after);
	str_addf(&term, "--%s <%s>", o->name, option_value_name(o));
	fail(p, text.ptr, term.ptr, o->help);
}

static size_t least(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Levenshtein distance, in which two neighbours that changed places are one step; longer names than
 * NAME_MAX_COMPARED are infinitely far. */
static size_t distance(const char *a, const char *b)
{
	unsigned char steps[NAME_MAX_COMPARED + 1][NAME_MAX_COMPARED + 1];
	size_t la = strlen(a);
	size_t lb = strlen(b);

	if (la > NAME_MAX_COMPARED || lb > NAME_MAX_COMPARED)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		steps[0][j] = (unsigned char)j;
	for (size_t i = 1; i <= la; i++) {
		steps[i][0] = (unsigned char)i;
		for (size_t j = 1; j <= lb; j++) {
			size_t d = least(steps[i - 1][j] + 1U, steps[i][j - 1] + 1U,
					 steps[i - 1][j - 1] + (size_t)(a[i - 1] != b[j - 1]));

			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d = least(d, steps[i - 2][j - 2] + 1U, SIZE_MAX);
			steps[i][j] = (unsigned char)d;
		}
	}
	return steps[la][lb];
}

/* A short name is soon another one: what is as good as new is no slip. */
static size_t slips_allowed(const char *typed)
{
	size_t len = strlen(typed);

	return len <= SHORT ? 1 : len <= MIDDLING ? 2 : SIMILAR_MAX;
}

bool option_similar(const char *typed, const char *name, size_t *best)
{
	size_t d = distance(typed, name);

	if (d > slips_allowed(typed) || d >= strlen(typed) || d >= *best)
		return false;
	*best = d;
	return true;
}

static void fail_unknown(struct parser *p, const char *spelling)
{
	auto_str text = STR_INIT;
	auto_str shown = STR_INIT;
	const char *similar = NULL;
	size_t best = SIZE_MAX;

	str_add_printable(&shown, spelling);
	if (str_starts(spelling, "--"))
		for (const struct option *o = p->command->options; o && o->name; o++)
			if (!(o->flags & (OPTION_HIDDEN | OPTION_PRIVATE)) &&
			    option_similar(spelling + 2, o->name, &best))
				similar = o->name;
	str_addf(&text, "Unknown option '%s'", shown.ptr);
	if (similar)
		str_addf(&text, ". Did you mean '--%s'?", similar);
	fail(p, text.ptr, NULL, NULL);
}

static int to_number(const char *text, enum option_kind kind, struct optional_number *n)
{
	uint64_t max = kind == OPTION_U16   ? UINT16_MAX
		       : kind == OPTION_U64 ? UINT64_MAX
					    : INT64_MAX;
	bool negative = kind == OPTION_INT && *text == '-';
	uint64_t value;

	if (str_to_u64(text + negative, max, &value) < 0)
		return -1;
	*n = (struct optional_number){
		.given = true,
		.value = value > INT64_MAX ? INT64_MAX
			 : negative	   ? -(int64_t)value
					   : (int64_t)value,
		.unsigned_value = value,
	};
	return 0;
}

static int to_choice(const struct option *o, const char *text)
{
	for (int i = 0; o->choices[i]; i++)
		if (!(o->flags & OPTION_ANY_CASE ? strcasecmp : strcmp)(o->choices[i], text))
			return i;
	return -1;
}

/* ". Please provide one of 'text' or 'json'." */
static void add_choices(struct str *out, const char *const *choices)
{
	str_adds(out, ". Please provide one of ");
	for (size_t i = 0; choices[i]; i++) {
		if (i)
			str_adds(out, choices[i + 1] ? ", " : " or ");
		str_addf(out, "'%s'", choices[i]);
	}
	str_addc(out, '.');
}

static void fail_value(struct parser *p, const struct option *o, const char *spelling,
		       const char *value)
{
	auto_str before = STR_INIT;
	auto_str after = STR_INIT;

	str_adds(&before, "The value '");
	str_add_printable(&before, value);
	str_adds(&before, "' is invalid for ");
	if (o->kind == OPTION_CHOICE)
		add_choices(&after, o->choices);
	fail_option(p, o, spelling, before.ptr, after.ptr);
}

static void set_value(struct parser *p, const struct option *o, const char *spelling,
		      const char *value)
{
	void *at = member(p, o->offset);
	int choice;

	switch (o->kind) {
	case OPTION_STRING:
		*(const char **)at = value;
		break;
	case OPTION_STRINGS:
		strings_add(at, value);
		break;
	case OPTION_CHOICE:
		choice = to_choice(o, value);
		if (choice < 0)
			fail_value(p, o, spelling, value);
		else
			*(int *)at = choice;
		break;
	case OPTION_U16:
	case OPTION_U64:
	case OPTION_INT:
		if (to_number(value, o->kind, at) < 0)
			fail_value(p, o, spelling, value);
		break;
	case OPTION_FLAG:
	case OPTION_SWITCH:
		break;
	}
}

static void set_flag(const struct parser *p, const struct option *o, bool on)
{
	if (o->kind == OPTION_FLAG)
		*(bool *)member(p, o->offset) = on;
	else
		*(int *)member(p, o->offset) = on;
}

/* @on: false where the "no-" form of a switch was used */
static const struct option *find_long(const struct command *c, const char *name, bool *on)
{
	*on = true;
	for (const struct option *o = c->options; o && o->name; o++) {
		if (!strcmp(o->name, name))
			return o;
		if (o->kind == OPTION_SWITCH && str_starts(name, "no-") &&
		    !strcmp(o->name, name + 3)) {
			*on = false;
			return o;
		}
	}
	return NULL;
}

static const struct option *find_letter(const struct command *c, char letter)
{
	for (const struct option *o = c->options; o && o->name; o++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

static int builtin(const char *name)
{
	if (!strcmp(name, "help"))
		return ASKED_HELP;
	if (!strcmp(name, "help-hidden"))
		return ASKED_HELP_HIDDEN;
	return strcmp(name, "version") ? 0 : ASKED_VERSION;
}

static bool looks_like_option(const char *word)
{
	return word[0] == '-' && word[1];
}

/* The value of @o: @inline_value, else the next word. Return: how many more words were used. */
static int use_value(struct parser *p, const struct option *o, const char *spelling,
		     const char *inline_value, char *const *rest, int left)
{
	if (inline_value) {
		set_value(p, o, spelling, inline_value);
		return 0;
	}
	if (!left || looks_like_option(rest[0])) {
		fail_option(p, o, spelling, "Missing value for ", "");
		return 0;
	}
	set_value(p, o, spelling, rest[0]);
	return 1;
}

static void fail_superfluous(struct parser *p, const char *spelling, const char *value)
{
	auto_str text = STR_INIT;

	str_addf(&text, "The option '%s' does not take any value, but '", spelling);
	str_add_printable(&text, value);
	str_adds(&text, "' was specified.");
	fail(p, text.ptr, NULL, NULL);
}

/* "--name", "--name=value" */
static int parse_long(struct parser *p, char *const *words, int left)
{
	const char *equals = strchr(words[0], '=');
	size_t len = equals ? (size_t)(equals - words[0]) : strlen(words[0]);
	auto_free char *spelling = xstrndup(words[0], len);
	bool on;
	const struct option *o = find_long(p->command, spelling + 2, &on);

	if (!o && !equals && builtin(spelling + 2)) {
		if (!p->asked)
			p->asked = builtin(spelling + 2);
		return 0;
	}
	if (!o) {
		fail_unknown(p, spelling);
		return 0;
	}
	if (takes_value(o))
		return use_value(p, o, spelling, equals ? equals + 1 : NULL, words + 1, left - 1);
	if (equals)
		fail_superfluous(p, spelling, equals + 1);
	else
		set_flag(p, o, on);
	return 0;
}

/* "-i", "-it", "-t 5", "-t=5", "-t5" */
static int parse_letters(struct parser *p, char *const *words, int left)
{
	for (const char *c = words[0] + 1; *c; c++) {
		char spelling[] = { '-', *c, '\0' };
		const struct option *o = find_letter(p->command, *c);

		if (o && takes_value(o)) {
			const char *value = c[1] == '=' ? c + 2 : c[1] ? c + 1 : NULL;

			return use_value(p, o, spelling, value, words + 1, left - 1);
		}
		if (o)
			set_flag(p, o, true);
		else if (*c == 'h' && !p->asked)
			p->asked = ASKED_HELP;
		else
			fail_unknown(p, spelling);
	}
	return 0;
}

static void next_argument(struct parser *p)
{
	p->next = p->next[1].name ? p->next + 1 : NULL;
	p->filled = false;
}

/* Looked at before the arguments behind it, which this one says the meaning of. */
static void check_choice(struct parser *p, const char *word)
{
	const struct argument *a = p->next;
	auto_str text = STR_INIT;

	for (size_t i = 0; a->choices && a->choices[i]; i++)
		if (strcmp(a->choices[i], word) == 0)
			return;
	if (!a->choices)
		return;
	str_adds(&text, "The value '");
	str_add_printable(&text, word);
	str_addf(&text, "' is invalid for '<%s>'", a->name);
	add_choices(&text, a->choices);
	fail(p, text.ptr, NULL, NULL);
}

static void parse_plain(struct parser *p, const char *word)
{
	if (!p->next) {
		str_adds(&p->unexpected, p->unexpected_count++ ? ", '" : "'");
		str_add_printable(&p->unexpected, word);
		str_addc(&p->unexpected, '\'');
		return;
	}
	if (p->next->kind == ARGUMENT_ONE || p->next->kind == ARGUMENT_OPTIONAL) {
		check_choice(p, word);
		*(const char **)member(p, p->next->offset) = word;
		next_argument(p);
	} else {
		strings_add(member(p, p->next->offset), word);
		p->filled = true;
	}
}

static void parse_words(struct parser *p, int argc, char *const *argv)
{
	for (int i = 0; i < argc; i++) {
		bool verbatim = p->next && p->next->kind == ARGUMENT_VERBATIM;

		if (verbatim || p->plain || !looks_like_option(argv[i]))
			parse_plain(p, argv[i]);
		else if (!strcmp(argv[i], "--"))
			p->plain = true;
		else if (argv[i][1] == '-')
			i += parse_long(p, argv + i, argc - i);
		else
			i += parse_letters(p, argv + i, argc - i);
	}
}

static void check_complete(struct parser *p)
{
	auto_str text = STR_INIT;
	auto_str term = STR_INIT;

	if (p->unexpected_count == 1)
		str_addf(&text, "Unexpected argument %s", p->unexpected.ptr);
	else if (p->unexpected_count)
		str_addf(&text, "%zu unexpected arguments: %s", p->unexpected_count,
			 p->unexpected.ptr);
	if (text.len) {
		fail(p, text.ptr, NULL, NULL);
		return;
	}
	if (!p->next || p->filled || p->next->kind == ARGUMENT_OPTIONAL)
		return;
	argument_add_term(p->next, &term);
	str_addf(&text, "Missing expected argument '%s'", term.ptr);
	fail(p, text.ptr, term.ptr, p->next->help);
}

int option_parse(const struct command *command, int argc, char **argv, void *args,
		 struct error *err)
{
	struct parser p = {
		.command = command,
		.args = args,
		.err = err,
		.unexpected = STR_INIT,
	};

	p.next = command->arguments && command->arguments->name ? command->arguments : NULL;
	parse_words(&p, argc, argv);
	check_complete(&p);
	str_release(&p.unexpected);
	return p.asked ? p.asked : p.failure;
}

void option_release_args(const struct command *command, void *args)
{
	for (const struct option *o = command->options; o && o->name; o++)
		if (o->kind == OPTION_STRINGS)
			strings_release((void *)((char *)args + o->offset));
	for (const struct argument *a = command->arguments; a && a->name; a++)
		if (a->kind == ARGUMENT_MANY || a->kind == ARGUMENT_VERBATIM)
			strings_release((void *)((char *)args + a->offset));
}
