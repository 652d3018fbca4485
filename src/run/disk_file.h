/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DISK_FILE_H
#define RUN_DISK_FILE_H

/* The files and block devices of --disk. */

#include <stdbool.h>

#include "base/attr.h"
#include "machine/plan.h"

struct disk_option;
struct error;

/* A path that is one: 1; 0 anything else, also nothing at all. */
bool disk_file_is_device(const char *path);
/*
 * Open @path (as the user wrote it, "~" included): a regular file with something in it or a block
 * device. @layer->fd is the caller's. A file that is written to is flocked, a device is ours alone
 * (open(2), O_EXCL on a block device); E_FAILED with the contract's texts where somebody else uses
 * it: mounted, another VM's, another QEMU's.
 */
int disk_file_open(const char *path, const struct disk_option *option, struct plan_layer *layer,
		   struct error *err) must_use_;

#endif
