/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "cmd/transfer.h"
#include "cmd/transfer_args.h"
#include "oci/name.h"
#include "store/cache.h"
#include "store/vm.h"

enum { DEFAULT_PRUNE_LIMIT = 100 /* GiB */, IMAGE_TRIES = 3 };

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
	  .help = "Prune at most this many GiB of cached images (default: 100).",
	  .flags = OPTION_RARE },
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
	  .help = "VM to clone, or image; one that is not cached is pulled first.",
	  .completes = COMPLETES_IMAGE },
	{ .name = "new-name",
	  .offset = offsetof(struct clone_args, name),
	  .help = "Name of the new VM." },
	{ 0 },
};

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct clone_args *args = data;

	(void)inv;
	if (strchr(args->name, '/') || oci_name_is_remote(args->name))
		return error_set(err, E_USAGE, "<new-name> should be a local name");
	if (args->concurrency.given && !args->concurrency.unsigned_value)
		return error_set(err, E_USAGE, "network concurrency cannot be less than 1");
	return 0;
}

static uint64_t number_or(struct optional_number n, uint64_t otherwise)
{
	return n.given ? n.unsigned_value : otherwise;
}

/* What the clone may come to occupy of its own (contract 2.2): what the source's disk does not. */
static uint64_t room_needed(const struct vm *source, const struct clone_args *args)
{
	struct error ignored = ERROR_INIT;
	struct vm_sizes sizes;
	uint64_t limit, growth;

	if (vm_sizes(source, /* exclusive= */ false, &sizes, &ignored) < 0)
		return 0;
	growth = sizes.apparent > sizes.allocated ? sizes.apparent - sizes.allocated : 0;
	if (__builtin_mul_overflow(number_or(args->prune_limit, DEFAULT_PRUNE_LIMIT),
				   UINT64_C(1) << 30, &limit))
		limit = UINT64_MAX;
	return growth < limit ? growth : limit;
}

/* The clone is there: that no room could be made is told and is no failure. */
static void reclaim(const struct home *home, uint64_t needed, const struct digest *keep)
{
	struct error err = ERROR_INIT;
	auto_str removed = STR_INIT;
	int r = cache_reclaim(home, needed, keep, &removed, &err);

	(void)fputs(removed.ptr, stderr);
	if (r < 0)
		(void)fprintf(stderr, "failed to prune the cache: %s\n", err.text);
}

static int clone_local(struct invocation *inv, const struct clone_args *args,
		       const struct vm_clone *how, struct error *err)
{
	struct error ignored = ERROR_INIT;
	auto_vm source = VM_INIT;
	struct waiting waiting;
	int r;

	/* where the disk cannot be shared it is copied */
	waiting_begin(&waiting, "cloning", NULL, NULL);
	r = vm_clone(&inv->home, args->source, args->name, how, err);
	waiting_end(&waiting);
	if (r == 0 && !getenv("TART_NO_AUTO_PRUNE") &&
	    vm_open(&inv->home, args->source, /* quiet= */ true, &source, &ignored) == 0)
		reclaim(&inv->home, room_needed(&source, args), NULL);
	return r;
}

/*
 * A tag that is cached is not asked for again, even where it has moved (contract 2.2). Return: 0,
 * the exit status of a pull that failed, or error.
 */
static int pull_if_missing(struct invocation *inv, const struct clone_args *args,
			   const struct oci_name *name, struct error *err)
{
	struct digest digest;
	int r = cache_find(&inv->home, name, &digest, err);

	if (r != 0)
		return r < 0 ? r : 0;
	return transfer_pull(inv, args->source, args->insecure,
			     number_or(args->concurrency, CONCURRENCY_DEFAULT), err);
}

static void reclaim_for_image(const struct home *home, const struct clone_args *args,
			      const struct oci_name *name)
{
	struct error ignored = ERROR_INIT;
	auto_vm image = VM_INIT;
	struct digest digest;
	uint64_t needed;

	if (cache_find(home, name, &digest, &ignored) <= 0 ||
	    cache_open(home, name, /* quiet= */ true, &image, &ignored) < 0)
		return;
	needed = room_needed(&image, args);
	vm_release(&image);
	reclaim(home, needed, &digest);
}

static int clone_image(struct invocation *inv, const struct clone_args *args,
		       const struct oci_name *name, const struct vm_clone *how, struct error *err)
{
	struct waiting waiting;
	int r, tries = IMAGE_TRIES;

	do { /* somebody else may delete or prune it in between */
		r = pull_if_missing(inv, args, name, err);
		if (r == 0) {
			waiting_begin(&waiting, "cloning", NULL, NULL);
			r = vm_clone_image(&inv->home, name, args->name, how, err);
			waiting_end(&waiting);
		}
	} while (r == -E_NOT_FOUND && --tries);
	if (r == 0 && !getenv("TART_NO_AUTO_PRUNE"))
		reclaim_for_image(&inv->home, args, name);
	return r;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct clone_args *args = data;
	const struct vm_clone how = { .raw = args->raw, .no_clobber = args->no_clobber };
	auto_oci_name name = OCI_NAME_INIT;
	struct error ignored = ERROR_INIT;

	if (oci_name_parse(args->source, &name, &ignored) < 0)
		return clone_local(inv, args, &how, err);
	return clone_image(inv, args, &name, &how, err);
}

const struct command command_clone = {
	.name = "clone",
	.summary = "Clone a VM or an image",
	.discussion = "The clone shares the source's disk until either writes to it. "
		      "A stopped VM of the new name is replaced.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct clone_args),
	.flags = COMMAND_KEEPS_TMP,
	.validate = validate,
	.run = run,
};
