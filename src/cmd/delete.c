/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/vec.h"
#include "cmd/command.h"
#include "oci/name.h"
#include "store/cache.h"
#include "store/vm.h"

struct delete_args {
	struct strings names;
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .kind = ARGUMENT_MANY,
	  .offset = offsetof(struct delete_args, names),
	  .help = "VMs or cached images to delete, in this order, until one cannot be.",
	  .completes = COMPLETES_IMAGE },
	{ 0 },
};

static int delete_one(const struct home *home, const char *text, struct error *err)
{
	auto_oci_name name = OCI_NAME_INIT;
	struct error ignored = ERROR_INIT;
	int r;

	if (oci_name_parse(text, &name, &ignored) < 0)
		return vm_delete(home, text, err);
	r = cache_delete(home, &name, err);
	return r == -E_NOT_FOUND ? vm_not_found(text, err) : r;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct delete_args *args = data;
	int r = 0;

	for (size_t i = 0; i < args->names.len && r >= 0; i++)
		r = delete_one(&inv->home, args->names.items[i], err);
	return r;
}

const struct command command_delete = {
	.name = "delete",
	.summary = "Delete VMs and cached images",
	.arguments = arguments,
	.args_size = sizeof(struct delete_args),
	.run = run,
};
