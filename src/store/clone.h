/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CLONE_H
#define STORE_CLONE_H

/* What cloning a VM (store/clone.c) and cloning a cached image (store/clone_image.c) share. */

#include "base/attr.h"
#include "store/config.h"
#include "store/disk.h"
#include "store/vm.h"

struct error;
struct home;
struct stage;

enum { CLONE_SMALL_DISK = 1024 * 1024 }; /* allocated bytes below which a raw disk is copied */

/* The file @name of @from as that of @to, sharing extents where possible, else copied. */
int clone_copy_file(const struct vm *from, const struct vm *to, const char *name,
		    struct error *err) must_use_;
/*
 * A second name for a file that nobody writes to. Too many names (ext4: 65,000), somebody else's
 * file, another file system: then it is copied.
 */
int clone_link_file(const struct vm *from, const struct vm *to, const char *name,
		    struct error *err) must_use_;
/* The same for all overlays of a stacked image (store/cache.h), in any number. */
int clone_link_overlays(const struct vm *from, const struct vm *to, struct error *err) must_use_;
/* The settings and the filter of its network, but no address. */
int clone_network(const struct vm *from, const struct vm *to, struct error *err) must_use_;
/* Return: 1 if the top shares its extents with the source's now, 0 if that cannot be, or error. */
int clone_share_top(int top, const struct vm *from, const struct vm *to,
		    const struct disk_chain *chain, struct error *err) must_use_;
/* Its modification time is the source's, too. */
int clone_copy_top(int top, const struct vm *to, struct error *err) must_use_;
/*
 * Give the stage its config.json, with a MAC that no VM has, and let it appear. @source: the VM
 * that most likely has the MAC; NULL: none in particular.
 */
int clone_publish(const struct home *home, const char *source, const struct vm_clone *how,
		  struct stage *stage, struct config *config, struct error *err) must_use_;

#endif
