/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DISK_EXTRA_H
#define RUN_DISK_EXTRA_H

/* One --disk of a run: what holds it open, and what goes with the run. */

#include <stddef.h>

#include "base/attr.h"
#include "machine/plan.h"
#include "store/vm.h"

struct error;
struct home;
struct strings;
struct nbd_relay;

struct disk_extra {
	int fds[PLAN_LAYERS_MAX];
	size_t count;
	struct vm scratch; /* a remote image's disk, an NBD server's socket */
	struct nbd_relay *relay;
	struct plan_nbd nbd; /* what plan_disk.nbd points to */
};

/*
 * Open the value @text of --disk for @disk: by its form an NBD server, a block device, the disk of
 * a cached image (a throw-away clone of it), or a file (contract 7.4). @extra is the caller's to
 * release, also after an error, and stays where it is while @disk is used.
 */
int disk_extra_open(const struct home *home, const char *text, struct disk_extra *extra,
		    struct plan_disk *disk, struct error *err) must_use_;
/*
 * What was written is on the medium; E_FAILED if nothing of it would be there in the next run. An
 * NBD server's disk is QEMU's to flush, and is when the guest is stopped.
 */
int disk_extra_sync(const struct disk_extra *extra, struct error *err) must_use_;
#define DISK_EXTRA_PART "--disk" /* what a part of disk_extra_describe() begins with */
/*
 * Add to @parts what tells a state's disk from another or a changed one, in the form of
 * qemu_machine_parts(). A file without a name was made for this run, and is made again the same.
 */
void disk_extra_describe(const struct disk_extra *extra, struct strings *parts);
void disk_extra_release(struct disk_extra *extra);

#endif
