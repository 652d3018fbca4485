/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"
#include "cmd/command.h"
#include "store/vm.h"

struct delete_args {
	struct strings names;
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .kind = ARGUMENT_MANY,
	  .offset = offsetof(struct delete_args, names),
	  .help = "VMs to delete, in this order, until one cannot be.",
	  .completes = COMPLETES_VM },
	{ 0 },
};

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct delete_args *args = data;
	int r = 0;

	for (size_t i = 0; i < args->names.len && r >= 0; i++)
		r = vm_delete(&inv->home, args->names.items[i], err);
	return r;
}

const struct command command_delete = {
	.name = "delete",
	.summary = "Delete VMs",
	.arguments = arguments,
	.args_size = sizeof(struct delete_args),
	.run = run,
};
