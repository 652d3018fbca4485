/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CHAIN_H
#define STORE_CHAIN_H

/* What the files of this room that change chains share: names and questions. */

#include <stdbool.h>

#include "store/disk.h"

struct error;
struct str;
struct vm;

#define CHAIN_FILE "disk.json"
#define CHAIN_TOP "disk.img"
#define CHAIN_NEXT "disk.img.next" /* what is about to become disk.img */
#define CHAIN_LAYER_PREFIX "layer-"

bool chain_is_layer_name(const char *name);
void chain_new_layer_name(char name[DISK_NAME]);
bool chain_is_raw(const struct disk_chain *chain);
/*
 * Does it say "disk.img.next, raw, is the disk"? That is how disk_commit_raw() replaces many files
 * in one step; disk_read() ends it by renaming that file to disk.img.
 */
bool chain_is_pending(const struct disk_chain *chain);
bool chain_names(const struct disk_chain *chain, const char *file);
/* The text of disk.json. */
void chain_format(const struct disk_chain *chain, struct str *out);
/* disk.img alone, raw. */
void chain_set_raw(struct disk_chain *chain, uint64_t size);

/*
 * Lock a stopped VM and read its chain: nobody can start it while the .lock is held.
 * Return: the lock; or error, E_RUNNING among them.
 */
int disk_lock_stopped(const struct vm *vm, struct disk_chain *chain, struct error *err) must_use_;
/*
 * A copy of the file @from as "disk.img.next", for disk_commit_raw(). What is left of it where
 * something fails, now or later, disk_read() sweeps. Return: fd, read-write.
 */
int disk_copy_next(const struct vm *vm, int from, struct error *err) must_use_;

#endif
