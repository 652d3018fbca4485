/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

/*
 * The verbs. Each is one file exporting one const struct command; the
 * dispatcher in cmd/dispatch.c parses, opens the home and calls it.
 */

#include "cli/option.h"
#include "store/home.h"

struct invocation {
	const char *program; /* the name we were called by: "linzer", "tart", "vetu" */
	struct home home; /* open before validate and run */
	int argc; /* the whole command line */
	char **argv;
};

extern const struct command command_create, command_clone, command_run, command_set, command_get,
	command_list, command_ip, command_exec, command_prune, command_rename, command_stop,
	command_delete, command_logs, command_fqn;

/* In the order of the help screen; ends with NULL. */
extern const struct command *const commands[];

/* The whole program: parse, dispatch, print the error. Return: the exit status. */
int command_main(int argc, char **argv);

#endif
