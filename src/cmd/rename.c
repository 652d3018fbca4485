/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/command.h"
#include "store/vm.h"

struct rename_args {
	const char *from, *to;
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct rename_args, from),
	  .help = "VM to rename.",
	  .completes = COMPLETES_VM },
	{ .name = "new-name", .offset = offsetof(struct rename_args, to), .help = "Its new name." },
	{ 0 },
};

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct rename_args *args = data;

	return vm_rename(&inv->home, args->from, args->to, err);
}

const struct command command_rename = {
	.name = "rename",
	.summary = "Rename a local VM",
	.arguments = arguments,
	.args_size = sizeof(struct rename_args),
	.run = run,
};
