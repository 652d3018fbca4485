/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_SIMILAR_H
#define CMD_SIMILAR_H

/* "Did you mean": the VM that has nearly the name of one that does not exist. */

struct command;
struct error;
struct invocation;

/*
 * Where @err says that a VM named in @args does not exist, and one of a similar name does: add a
 * line that says so. Not where we are called by another's name, whose callers compare the text.
 */
void similar_vm_add(const struct invocation *inv, const struct command *command, const void *args,
		    struct error *err);

#endif
