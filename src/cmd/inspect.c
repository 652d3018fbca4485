/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/command.h"
#include "cmd/output.h"
#include "cmd/transfer_args.h"

static const struct option options[] = {
	{ .name = "insecure",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct inspect_args, insecure),
	  .help = "Talk to the registry by HTTP instead of HTTPS." },
	{ .name = "format",
	  .kind = OPTION_CHOICE,
	  .choices = output_formats,
	  .offset = offsetof(struct inspect_args, format),
	  .help = "Output format: text (default) or json." },
	{ .name = "manifest",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct inspect_args, manifest),
	  .help = "Only the manifest, byte by byte as the registry has it." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "remote-name",
	  .offset = offsetof(struct inspect_args, name),
	  .help = "The image: host/namespace[:tag|@digest], or oci:DIR[:TAG].",
	  .completes = COMPLETES_VM },
	{ 0 },
};

const struct command command_inspect = {
	.name = "inspect",
	.summary = "Show what a registry knows of an image",
	.discussion = "Its digest, labels, sizes and time of upload; nothing is pulled.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct inspect_args),
};
