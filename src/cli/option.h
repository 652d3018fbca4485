/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_OPTION_H
#define CLI_OPTION_H

/*
 * One table describes a verb's options and arguments; parsing, help screens,
 * completion scripts and the man page test all read it. Values go straight
 * into the verb's own argument struct, at the given offset.
 *
 * Grammar and messages: contract 1.1 and 1.2 (swift-argument-parser's).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/vec.h"

struct error;

enum option_kind {
	OPTION_FLAG, /* bool */
	OPTION_SWITCH, /* int: --x is 1, --no-x is 0, the default is kept else */
	OPTION_U16, /* struct optional_number */
	OPTION_U64, /* struct optional_number */
	OPTION_INT, /* struct optional_number, may be negative */
	OPTION_STRING, /* const char * (borrowed from argv) */
	OPTION_STRINGS, /* struct strings, repeatable */
	OPTION_CHOICE, /* int: index into choices */
};

struct optional_number {
	bool given;
	int64_t value;
	uint64_t unsigned_value;
};

enum option_flags {
	OPTION_HIDDEN = 1, /* only in --help-hidden */
	OPTION_PRIVATE = 2, /* in no help screen at all */
	OPTION_ANY_CASE = 4, /* OPTION_CHOICE: letters' case does not matter */
	OPTION_LETTER = 8, /* help screens show the letter alone */
	OPTION_RARE = 16, /* not in --help, which has to fit a screen; else as any other */
};

struct option {
	const char *name; /* without dashes */
	char letter; /* 0: none */
	enum option_kind kind;
	size_t offset;
	const char *value; /* name of the value in help: "GB" */
	const char *help;
	/* NULL-terminated; with OPTION_CHOICE all there are, else what completion offers */
	const char *const *choices;
	unsigned flags;
};

enum argument_kind {
	ARGUMENT_ONE, /* const char * */
	ARGUMENT_OPTIONAL, /* const char * */
	ARGUMENT_MANY, /* struct strings: one or more */
	ARGUMENT_VERBATIM, /* struct strings: all that follows, "--" and dashes included */
};
enum argument_completes {
	COMPLETES_NOTHING,
	COMPLETES_VM,
	COMPLETES_IMAGE, /* a VM or a cached image */
	COMPLETES_FILE,
};

struct argument {
	const char *name; /* "name", "new-name": shown as <name> */
	enum argument_kind kind;
	size_t offset;
	const char *help;
	enum argument_completes completes;
	const char *const *choices; /* NULL-terminated: ARGUMENT_ONE is one of them; or NULL: any */
};

struct invocation; /* cmd/command.h: home, program name, output */

enum command_flags {
	COMMAND_HIDDEN = 1,
	COMMAND_KEEPS_TMP = 2, /* no tmp gc before it */
	COMMAND_OPENS_HOME = 4, /* itself, or does without one */
};

struct command {
	const char *name;
	const char *summary; /* one line */
	const char *discussion; /* more, or NULL */
	const struct option *options; /* ends with .name == NULL; may be NULL */
	const struct argument *arguments; /* likewise */
	size_t args_size;
	unsigned flags;
	void (*defaults)(void *args); /* after zeroing; may be NULL */
	/* contract 1.2: checked before anything is done; E_USAGE or E_VALIDATION; may be NULL */
	int (*validate)(struct invocation *inv, void *args, struct error *err);
	/* Return: exit status >= 0, or error */
	int (*run)(struct invocation *inv, void *args, struct error *err);
};

/*
 * Parse argv[0..argc-1] (after the verb) into @args (zeroed, defaults
 * applied). STRINGS members are released by option_release_args().
 * Return: 0; 1 help was asked for (--help, -h), 2 --help-hidden, 3 --version; or E_USAGE.
 */
int option_parse(const struct command *command, int argc, char **argv, void *args,
		 struct error *err) must_use_;
void option_release_args(const struct command *command, void *args);
/*
 * Is @name near enough to what was @typed to be suggested, and nearer than *best (start with
 * SIZE_MAX), which it then updates?
 */
bool option_similar(const char *typed, const char *name, size_t *best);

#endif
