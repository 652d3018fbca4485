/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "store/cache.h"
#include "store/vm.h"

static const char *const entries[] = { "caches", "vms", NULL };

struct prune_args {
	const char *entries;
	struct optional_number older_than; /* days */
	struct optional_number space_budget, cache_budget; /* GiB */
	bool all, gc;
};

static const struct option options[] = {
	{ .name = "entries",
	  .kind = OPTION_STRING,
	  .choices = entries,
	  .offset = offsetof(struct prune_args, entries),
	  .help = "What to prune: \"caches\" (default) or \"vms\", which never touches a running "
		  "VM." },
	{ .name = "older-than",
	  .kind = OPTION_U64,
	  .offset = offsetof(struct prune_args, older_than),
	  .help = "Delete what was last used this many days ago or longer." },
	{ .name = "space-budget",
	  .kind = OPTION_U64,
	  .offset = offsetof(struct prune_args, space_budget),
	  .help = "Keep the most recently used that fit in this many GiB, delete the rest." },
	{ .name = "cache-budget",
	  .kind = OPTION_U64,
	  .flags = OPTION_HIDDEN,
	  .offset = offsetof(struct prune_args, cache_budget),
	  .help = "The old name of --space-budget." },
	{ .name = "all",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct prune_args, all),
	  .help = "Delete every cached image and what unfinished pulls left." },
	{ .name = "gc",
	  .kind = OPTION_FLAG,
	  .flags = OPTION_HIDDEN,
	  .offset = offsetof(struct prune_args, gc),
	  .help = "First remove cached images that no tag names." },
	{ 0 },
};

static const char deprecated[] = "--cache-budget is deprecated, please use --space-budget";

static bool wants_vms(const struct prune_args *args)
{
	return args->entries && !strcmp(args->entries, "vms");
}

static int validate(struct invocation *inv, void *data, struct error *err)
{
	struct prune_args *args = data;

	(void)inv;
	if (args->cache_budget.given && args->space_budget.given)
		return error_set(err, E_USAGE, "%s", deprecated);
	if (args->cache_budget.given) {
		(void)fprintf(stderr, "%s\n", deprecated);
		args->space_budget = args->cache_budget;
	}
	if (args->entries && strcmp(args->entries, "caches") != 0 && !wants_vms(args))
		return error_set(err, E_USAGE,
				 "unsupported --entries value, please specify either \"caches\" or "
				 "\"vms\"");
	if (args->all && wants_vms(args))
		return error_set(err, E_USAGE, "--all is for --entries caches only");
	if (!args->older_than.given && !args->space_budget.given && !args->gc && !args->all)
		return error_set(err, E_USAGE, "at least one pruning criteria must be specified");
	return 0;
}

static int64_t value_or_none(struct optional_number n, int64_t max)
{
	if (!n.given)
		return -1;
	return n.value > max ? max : n.value;
}

static int prune_caches(const struct home *home, const struct prune_args *args, struct str *removed,
			struct error *err)
{
	int r = args->gc ? cache_gc(home, err) : 0;

	if (r == 0)
		r = cache_prune(home, value_or_none(args->older_than, INT32_MAX),
				value_or_none(args->space_budget, INT32_MAX), args->all, removed,
				err);
	return r;
}

static int prune(struct invocation *inv, const struct prune_args *args, struct str *removed,
		 struct error *err)
{
	if (!wants_vms(args))
		return prune_caches(&inv->home, args, removed, err);
	return vm_prune(&inv->home, value_or_none(args->older_than, INT32_MAX),
			value_or_none(args->space_budget, INT32_MAX), err);
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	auto_str removed = STR_INIT;
	struct waiting waiting;
	int r;

	waiting_begin(&waiting, "pruning", NULL, NULL);
	r = prune(inv, data, &removed, err);
	waiting_end(&waiting);
	(void)fputs(removed.ptr, stderr);
	return r;
}

const struct command command_prune = {
	.name = "prune",
	.summary = "Delete what was not used for long",
	.options = options,
	.args_size = sizeof(struct prune_args),
	.validate = validate,
	.run = run,
};
