/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_HELP_H
#define CLI_HELP_H

/*
 * Help screens and usage lines from the option tables. Everything is appended to a
 * string; nothing is printed here.
 */

#include <stdbool.h>

#include "cli/option.h"

struct str;

/* The whole program's screen. @commands ends with NULL; @hidden: also what is hidden. */
void help_add_root(struct str *out, const char *program, const struct command *const *commands,
		   bool hidden);
void help_add_command(struct str *out, const char *program, const struct command *command,
		      bool hidden);
/*
 * "Usage: tart create [--linux] <name>" and the line that points to --help;
 * @command NULL: of the whole program.
 */
void help_add_usage(struct str *out, const char *program, const struct command *command);

/* The value's name in help and messages: "disk-size" of "--disk-size <disk-size>". */
const char *option_value_name(const struct option *option);
/* "<name>", "<name> ..." */
void argument_add_term(const struct argument *argument, struct str *out);
/* Append @text with each control character as '?': what a stranger wrote drives no terminal. */
void str_add_harmless(struct str *out, const char *text);
/*
 * The same, cut after 200 bytes: for what a person typed or a file name, inside a message of
 * one line.
 */
void str_add_printable(struct str *out, const char *text);

#endif
