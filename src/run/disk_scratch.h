/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DISK_SCRATCH_H
#define RUN_DISK_SCRATCH_H

/*
 * A directory tmp/run-disk-UUID of one run, flocked by it, so that home_collect_tmp() removes it
 * only when the run is gone without having done so.
 */

#include "base/attr.h"
#include "store/vm.h"

struct error;
struct home;

/* @dir gets .path, .dir and the name @name, as if it were a VM's; vm_release() is
 * scratch_remove()'s. */
int disk_scratch_make(const struct home *home, const char *name, struct vm *dir,
		      struct error *err) must_use_;
/* With all that is in it. One that was never made is fine. */
void disk_scratch_remove(struct vm *dir);

#endif
