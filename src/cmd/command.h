/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

/*
 * The verbs. Each is one file exporting one const struct command; the
 * dispatcher in cmd/dispatch.c parses, opens the home and calls it.
 *
 * A verb whose .run is NULL is one that talks to registries: linzer-oci, which the dispatcher
 * executes in its own place, has the same tables and brings what they run (transfer/runners.h).
 */

#include "cli/option.h"
#include "store/home.h"

struct command_runner;

struct invocation {
	const char *program; /* the name we were called by: "linzer", "tart", "vetu" */
	struct home home; /* open before validate and run */
	int argc; /* the whole command line */
	char **argv;
	const struct command_runner *runners; /* as given to command_main() */
};

extern const struct command command_create, command_clone, command_run, command_set, command_get,
	command_list, command_ip, command_exec, command_prune, command_rename, command_stop,
	command_delete, command_logs, command_login, command_logout, command_pull, command_push,
	command_tag, command_inspect, command_import, command_export, command_fqn, command_net,
	command_screenshot, command_doctor, command_cp, command_suspend;

/* In the order of the help screen; ends with NULL. */
extern const struct command *const commands[];

/* Not by another's ("tart", "vetu"), whose callers expect that other's words. */
bool command_by_own_name(const struct invocation *inv);

/* What a verb runs whose own .run is NULL. */
struct command_runner {
	const struct command *command;
	int (*run)(struct invocation *inv, void *args, struct error *err);
};

/*
 * The whole program: parse, dispatch, print the error. @runners: of linzer-oci, ends with
 * .command == NULL; NULL in linzer itself. Return: the exit status.
 */
int command_main(int argc, char **argv, const struct command_runner *runners);

#endif
