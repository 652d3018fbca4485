/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "cmd/command.h"
#include "cmd/transfer_args.h"

static const struct option options[] = {
	{ .name = "insecure",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct pull_args, insecure),
	  .help = "Talk to the registry by HTTP instead of HTTPS." },
	{ .name = "concurrency",
	  .kind = OPTION_U64,
	  .offset = offsetof(struct pull_args, concurrency),
	  .help = "How many slices to fetch at once (default: 4)." },
	{ .name = "deduplicate",
	  .kind = OPTION_FLAG,
	  .flags = OPTION_HIDDEN,
	  .offset = offsetof(struct pull_args, deduplicate),
	  .help = "No effect: what is shared is always stored once where the file system can." },
	{ .name = "for-clone",
	  .kind = OPTION_FLAG,
	  .flags = OPTION_PRIVATE,
	  .offset = offsetof(struct pull_args, for_clone),
	  .help = "As a part of clone." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "remote-name",
	  .offset = offsetof(struct pull_args, name),
	  .help = "The image: host/namespace[:tag|@digest], or oci:DIR[:TAG] for a layout on "
		  "disk." },
	{ 0 },
};

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct pull_args *args = data;

	(void)inv;
	if (args->concurrency.given && !args->concurrency.unsigned_value)
		return error_set(err, E_USAGE, "network concurrency cannot be less than 1");
	return 0;
}

const struct command command_pull = {
	.name = "pull",
	.summary = "Pull an image from a registry",
	.discussion = "What is here already, of this image or of any other in the cache, is not "
		      "fetched again. An interrupted pull goes on where it stopped.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct pull_args),
	.flags = COMMAND_KEEPS_TMP,
	.validate = validate,
};
