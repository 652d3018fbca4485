/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_RECOVERY_PARTITION_H
#define STORE_RECOVERY_PARTITION_H

/*
 * The partition RecoveryOSContainer that macOS puts behind all others of its disk, where it is in
 * the way of one that shall grow: what Packer's plugin does to it (companions.md D.2).
 */

#include "base/attr.h"

struct error;
struct vm;

enum recovery_partition { RECOVERY_KEEP, RECOVERY_DELETE, RECOVERY_RELOCATE };

/*
 * Delete it, or move it to the end of the disk; the second partition table gets to the disk's
 * end with that. All or nothing, whenever it is interrupted. Takes vm_lock().
 *
 * Return: 1; 0: nothing was to do, for there is no such partition, or to delete and not even a
 * table; E_RUNNING; E_FAILED: the disk is an overlay, the partition is not the last one (delete) or
 * there is no room at the end (relocate); E_INVALID: two of that name, no GPT or a damaged one.
 */
int vm_recovery_partition(const struct vm *vm, enum recovery_partition what,
			  struct error *err) must_use_;

#endif
