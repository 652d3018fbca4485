/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"
#include "store/home.h"
#include "store/vm.h"

enum { DAY = 86400 };

struct candidate {
	const char *name; /* borrowed from the list of names */
	time_t accessed;
	uint64_t size; /* allocated bytes */
};
DEFINE_VEC(candidates, struct candidate)

/* A VM that cannot be measured, runs, or went meanwhile is not ours to prune. */
static void consider(const struct home *home, const char *name, struct candidates *list)
{
	auto_vm vm = VM_INIT;
	struct error ignored = ERROR_INIT;
	struct vm_sizes sizes;

	if (vm_open(home, name, /* quiet= */ true, &vm, &ignored) < 0 || vm_running_pid(&vm) ||
	    vm_sizes(&vm, /* exclusive= */ false, &sizes, &ignored) < 0)
		return;
	candidates_add(list, (struct candidate){ .name = name,
						 .accessed = vm_accessed(&vm),
						 .size = sizes.allocated });
}

static int newest_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->accessed < y->accessed ? 1 : x->accessed > y->accessed ? -1 : 0;
}

/* One that was started or deleted since we looked is let be. */
static int prune_one(const struct home *home, const char *name, struct error *err)
{
	int r = vm_delete(home, name, err);

	return r == -E_RUNNING || r == -E_NOT_FOUND ? 0 : r;
}

/* The budget of contract 4.6: the newest that still fit are kept, a smaller older one too. */
static bool within(uint64_t size, uint64_t *budget)
{
	if (size > *budget)
		return false;
	*budget -= size;
	return true;
}

static int prune(const struct home *home, const struct candidates *list, int64_t older_than_days,
		 int64_t budget_gib, struct error *err)
{
	time_t now = time(NULL);
	uint64_t budget;

	if (budget_gib < 0 ||
	    __builtin_mul_overflow((uint64_t)budget_gib, UINT64_C(1) << 30, &budget))
		budget = UINT64_MAX;
	for (size_t i = 0; i < list->len; i++) {
		const struct candidate *c = &list->items[i];
		bool old = older_than_days >= 0 && (now - c->accessed) / DAY >= older_than_days;
		int r;

		if (!old && within(c->size, &budget))
			continue;
		r = prune_one(home, c->name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int vm_prune(const struct home *home, int64_t older_than_days, int64_t budget_gib,
	     struct error *err)
{
	auto_strings names = VEC_INIT;
	cleanup_(candidates_release) struct candidates list = VEC_INIT;
	int r = home_list_vms(home, &names, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < names.len; i++)
		consider(home, names.items[i], &list);
	if (list.len) /* qsort() takes no null pointer */
		qsort(list.items, list.len, sizeof(list.items[0]), newest_first);
	return prune(home, &list, older_than_days, budget_gib, err);
}
