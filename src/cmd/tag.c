/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/command.h"
#include "cmd/transfer_args.h"

static const struct option options[] = {
	{ .name = "insecure",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct tag_args, insecure),
	  .help = "Talk to the registry by HTTP instead of HTTPS." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "source",
	  .offset = offsetof(struct tag_args, source),
	  .help = "The image: host/namespace[:tag|@digest], or oci:DIR[:TAG].",
	  .completes = COMPLETES_VM },
	{ .name = "targets",
	  .kind = ARGUMENT_MANY,
	  .offset = offsetof(struct tag_args, targets),
	  .help = "More names for it, of the same registry." },
	{ 0 },
};

const struct command command_tag = {
	.name = "tag",
	.summary = "Give an image in a registry more names",
	.discussion = "Nothing is pulled: the registry takes over what it has.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct tag_args),
};
