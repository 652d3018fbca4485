/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/error.h"
#include "cmd/command.h"
#include "store/vm.h"

struct clone_args {
	const char *source;
	const char *name;
	struct optional_number concurrency, prune_limit;
	bool insecure, deduplicate, raw, no_clobber;
};

static const struct option options[] = {
	{ .name = "insecure",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct clone_args, insecure),
	  .help = "Talk to the registry by HTTP instead of HTTPS." },
	{ .name = "concurrency",
	  .kind = OPTION_U64,
	  .offset = offsetof(struct clone_args, concurrency),
	  .help = "How many layers to pull at once (default: 4)." },
	{ .name = "deduplicate",
	  .kind = OPTION_FLAG,
	  .flags = OPTION_HIDDEN,
	  .offset = offsetof(struct clone_args, deduplicate),
	  .help = "No effect: what is shared is always stored once." },
	{ .name = "prune-limit",
	  .kind = OPTION_U64,
	  .offset = offsetof(struct clone_args, prune_limit),
	  .help = "Prune at most this many GiB of cached images (default: 100)." },
	{ .name = "raw",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct clone_args, raw),
	  .help = "Copy the whole disk into one raw file that shares nothing with the source." },
	{ .name = "no-clobber",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct clone_args, no_clobber),
	  .help = "Fail if a VM of that name exists, instead of replacing it." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "source-name",
	  .offset = offsetof(struct clone_args, source),
	  .help = "VM to clone.",
	  .completes = COMPLETES_VM },
	{ .name = "new-name",
	  .offset = offsetof(struct clone_args, name),
	  .help = "Name of the new VM." },
	{ 0 },
};

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct clone_args *args = data;

	(void)inv;
	if (strchr(args->name, '/'))
		return error_set(err, E_USAGE, "<new-name> should be a local name");
	if (args->concurrency.given && !args->concurrency.unsigned_value)
		return error_set(err, E_USAGE, "network concurrency cannot be less than 1");
	return 0;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct clone_args *args = data;
	const struct vm_clone how = { .raw = args->raw, .no_clobber = args->no_clobber };

	if (strchr(args->source, '/'))
		return error_set(err, E_FAILED,
				 "\"%.200s\" names an image in a registry: only local VMs can be "
				 "cloned so far",
				 args->source);
	return vm_clone(&inv->home, args->source, args->name, &how, err);
}

const struct command command_clone = {
	.name = "clone",
	.summary = "Clone a VM",
	.discussion = "The clone shares the source's disk until either writes to it. "
		      "A stopped VM of the new name is replaced.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct clone_args),
	.flags = COMMAND_KEEPS_TMP,
	.validate = validate,
	.run = run,
};
