/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STAGE_H
#define STORE_STAGE_H

/*
 * Where a VM directory is built before anybody can see it (decision 8): a
 * directory in tmp/, or, where tmp/ is on another file system than vms/, one
 * named STAGE_PREFIX<hex> in vms/. It is flocked by its maker, so that
 * home_collect_tmp() leaves it alone until he is gone.
 */

#include <stdbool.h>

#include "base/attr.h"
#include "store/vm.h"

struct error;
struct home;

#define STAGE_PREFIX ".tmp-"

struct stage {
	struct vm vm; /* .path and .dir of what is built; .name is the name it is to get */
	bool published;
};
#define STAGE_INIT            \
	{                     \
		.vm = VM_INIT \
	}

/* Make an empty directory for the VM @name; vms/ is made too where it is missing. */
int stage_open(const struct home *home, const char *name, struct stage *stage,
	       struct error *err) must_use_;
/*
 * Make it durable and let it appear as vms/NAME in one step, instead of a stopped VM of that
 * name where there is one (E_RUNNING if it runs; E_FAILED with @no_clobber).
 * The caller holds home_lock() and no VM's .lock but the stage's own.
 */
int stage_publish(const struct home *home, struct stage *stage, bool no_clobber,
		  struct error *err) must_use_;
/* What was not published is removed. */
void stage_release(struct stage *stage);
#define auto_stage cleanup_(stage_release) struct stage

/* Move the directory @path of a VM out of sight in one step, then remove it. */
int stage_discard(const struct home *home, const char *path, struct error *err) must_use_;

#endif
