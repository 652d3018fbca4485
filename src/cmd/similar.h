/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_SIMILAR_H
#define CMD_SIMILAR_H

/* What may have been meant by who made a mistake, such as the VM that has nearly the name of one
 * that does not exist. */

struct command;
struct error;
struct invocation;

/*
 * Where @err says that a VM named in @args does not exist, and one of a similar name does: add a
 * line that says so. Not where we are called by another's name, whose callers compare the text.
 */
void similar_vm_add(const struct invocation *inv, const struct command *command, const void *args,
		    struct error *err);
/* Where @err says that a name is none of an image: add a line that says what such a name is. */
void image_name_help_add(const struct invocation *inv, struct error *err);
/* Where @err says that an argument is missing, and the last word was taken as an option's value:
 * add a line that says so. @argv: behind the subcommand. */
void taken_word_help_add(const struct invocation *inv, const struct command *command, int argc,
			 char *const *argv, struct error *err);

#endif
