/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "cmd/command.h"
#include "cmd/transfer_args.h"

enum { SLICE_MIB_MAX = 4096, CHUNK_MB_MAX = 1000000 };

static const struct option options[] = {
	{ .name = "insecure",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct push_args, insecure),
	  .help = "Talk to the registry by HTTP instead of HTTPS." },
	{ .name = "concurrency",
	  .kind = OPTION_U64,
	  .offset = offsetof(struct push_args, concurrency),
	  .help = "How many slices to compress and upload at once (default: 4)." },
	{ .name = "chunk-size",
	  .kind = OPTION_INT,
	  .value = "MB",
	  .offset = offsetof(struct push_args, chunk_size),
	  .help = "Upload each slice in chunks of this many MB; 0 (default): each in one "
		  "request.",
	  .flags = OPTION_RARE },
	{ .name = "slice-size",
	  .kind = OPTION_U64,
	  .value = "MiB",
	  .offset = offsetof(struct push_args, slice_size),
	  .help = "Cut the disk into slices of this many MiB, 1 to 4096 (default: 16, more for a "
		  "disk of over 125 GB)." },
	{ .name = "label",
	  .kind = OPTION_STRINGS,
	  .value = "key=value",
	  .offset = offsetof(struct push_args, labels),
	  .help = "A label for the image; can be given several times." },
	{ .name = "populate-cache",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct push_args, populate_cache),
	  .help = "Put the pushed image into the local cache, too." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "local-name",
	  .offset = offsetof(struct push_args, local),
	  .help = "The VM, or a cached image that is to have other names.",
	  .completes = COMPLETES_VM },
	{ .name = "remote-names",
	  .kind = ARGUMENT_MANY,
	  .offset = offsetof(struct push_args, remotes),
	  .help = "Names for the image: host/namespace[:tag], or oci:DIR[:TAG]." },
	{ 0 },
};

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct push_args *args = data;
	uint64_t slice = args->slice_size.unsigned_value;

	(void)inv;
	if (args->slice_size.given && (slice < 1 || slice > SLICE_MIB_MAX))
		return error_set(err, E_USAGE, "a slice has 1 to %d MiB", SLICE_MIB_MAX);
	if (args->chunk_size.value > CHUNK_MB_MAX)
		return error_set(err, E_USAGE, "a chunk has at most %d MB", CHUNK_MB_MAX);
	return 0;
}

const struct command command_push = {
	.name = "push",
	.summary = "Push a VM to a registry",
	.discussion = "Only slices that the registry has not yet are uploaded.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct push_args),
	.validate = validate,
};
