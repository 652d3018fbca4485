/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation. A freeze takes four durable steps, in an order in which every
 * crash leaves a VM whose disk holds what it held (NEW is an empty overlay, OLD the present top):
 *
 *                             disk.img.next  disk.img  layer-X  disk.json
 *   1 write the overlay       NEW            OLD       -        [disk.img, ...]
 *   2 link                    NEW            OLD       OLD      [disk.img, ...]
 *   3 replace disk.json       NEW            OLD       OLD      [disk.img, layer-X, ...]
 *   4 rename                  -              NEW       OLD      [disk.img, layer-X, ...]
 *
 * Before 3 the old chain is true, and disk_read() sweeps what it does not name. After
 * 3 the new one is, except that disk.img and layer-X may still be one inode: disk_read() sees that
 * and does 4 (with an overlay made anew, which is as empty). A running QEMU writes to
 * OLD by its descriptor until it is switched over after 4; wherever a crash falls,
 * all that it wrote is in OLD, and NEW is empty.
 *
 * If the switch fails the steps are taken back in reverse: OLD is linked and renamed to disk.img
 * (which is the state after 3), the old disk.json is written, the link goes.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "store/chain.h"
#include "store/vm.h"

enum { SECTOR = 512 };

static int rename_next(const struct vm *vm, struct error *err)
{
	if (renameat(vm->dir, CHAIN_NEXT, vm->dir, CHAIN_TOP) < 0)
		return error_errno(err, "cannot replace '%s'", CHAIN_TOP);
	return fs_sync_dir(vm->dir, ".", err);
}

int disk_make_overlay(const struct vm *vm, const char *name, uint64_t size, struct error *err)
{
	auto_fd fd = fs_open(vm->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, err);
	int r = fd < 0 ? fd : qcow2_write_empty(fd, size, err);

	if (r < 0)
		return error_wrap(err, "VM \"%s\"", vm->name);
	return take_fd(&fd);
}

static int make_next(const struct vm *vm, uint64_t size, struct error *err)
{
	auto_fd fd = -1;

	(void)unlinkat(vm->dir, CHAIN_NEXT, 0);
	fd = disk_make_overlay(vm, CHAIN_NEXT, size, err);
	if (fd < 0)
		return fd;
	if (fsync(fd) < 0)
		return error_errno(err, "cannot write '%s'", CHAIN_NEXT);
	return take_fd(&fd);
}

static bool top_is_first_layer(const struct vm *vm, const struct disk_chain *chain)
{
	struct stat top, first;

	return chain->count > 1 && fstatat(vm->dir, CHAIN_TOP, &top, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(vm->dir, chain->layers[1].file, &first, AT_SYMLINK_NOFOLLOW) == 0 &&
	       top.st_ino == first.st_ino && top.st_dev == first.st_dev;
}

/* What was between steps 3 and 4 when we crashed: do 4. */
static int finish_freeze(const struct vm *vm, const struct disk_chain *chain, struct error *err)
{
	auto_fd fd = -1;

	if (!top_is_first_layer(vm, chain))
		return 0;
	fd = make_next(vm, chain->size, err);
	return fd < 0 ? fd : rename_next(vm, err);
}

static int finish_commit(const struct vm *vm, struct disk_chain *chain, struct error *err)
{
	struct stat st;
	int r = 0;

	if (!chain_is_pending(chain))
		return 0;
	if (fstatat(vm->dir, CHAIN_NEXT, &st, AT_SYMLINK_NOFOLLOW) == 0)
		r = rename_next(vm, err);
	if (r < 0)
		return r;
	chain_set_raw(chain, chain->size);
	return disk_write(vm, chain, err);
}

/* A resize writes the header first (store/set.c): believe the greater. */
static int finish_resize(const struct vm *vm, struct disk_chain *chain, struct error *err)
{
	struct qcow2_header header;
	auto_fd fd = -1;
	int r;

	if (!chain->layers[0].qcow2)
		return 0;
	fd = disk_open_file(vm, CHAIN_TOP, O_RDONLY, err);
	r = fd < 0 ? fd : qcow2_read_header(fd, &header, err);
	if (r < 0)
		return error_wrap(err, "%s of VM \"%s\"", CHAIN_TOP, vm->name);
	if (header.size <= chain->size)
		return 0;
	chain->size = header.size;
	return disk_write(vm, chain, err);
}

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static bool is_leftover(const char *name, const struct disk_chain *chain)
{
	if (strcmp(name, CHAIN_NEXT) == 0)
		return true;
	if (chain_is_layer_name(name))
		return !chain_names(chain, name);
	return str_starts(name, CHAIN_FILE ".") && str_ends(name, ".new");
}

/* Remove what the chain does not name. Not being able to is no reason to stop. */
static void sweep(const struct vm *vm, const struct disk_chain *chain)
{
	int fd = openat(vm->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_(close_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (is_leftover(e->d_name, chain))
			(void)unlinkat(fd, e->d_name, 0);
}

int disk_read(const struct vm *vm, struct disk_chain *chain, struct error *err)
{
	int r = disk_peek(vm, chain, err);

	if (r == 0)
		r = finish_commit(vm, chain, err);
	if (r == 0)
		r = finish_freeze(vm, chain, err);
	if (r == 0)
		r = finish_resize(vm, chain, err);
	if (r == 0)
		sweep(vm, chain);
	return r;
}

/* @chain with its top frozen under the name @layer and a new top. */
static struct disk_chain push_layer(const struct disk_chain *chain, const char *layer)
{
	struct disk_chain pushed = *chain;

	memmove(&pushed.layers[1], &chain->layers[0], chain->count * sizeof(chain->layers[0]));
	pushed.count++;
	memcpy(pushed.layers[1].file, layer, strlen(layer) + 1);
	pushed.layers[1].length = chain_is_raw(chain) ? chain->size : 0;
	pushed.layers[0].qcow2 = true;
	pushed.layers[0].length = 0;
	pushed.size = (chain->size + SECTOR - 1) / SECTOR * SECTOR;
	return pushed;
}

/* Steps 2 to 4. */
static int put_in_place(const struct vm *vm, const struct disk_chain *pushed, struct error *err)
{
	const char *layer = pushed->layers[1].file;
	int r;

	if (linkat(vm->dir, CHAIN_TOP, vm->dir, layer, 0) < 0)
		return error_errno(err, "cannot link '%s'", layer);
	r = disk_write(vm, pushed, err);
	return r < 0 ? r : rename_next(vm, err);
}

/*
 * Take back, in reverse, what has been done of steps 4 to 1. A running QEMU
 * still writes to OLD, so going on instead (as disk_read() does after a crash) would
 * make a layer of a file that changes.
 */
static int put_back(const struct vm *vm, const struct disk_chain *old,
		    const struct disk_chain *pushed, struct error *err)
{
	const char *layer = pushed->layers[1].file;
	int r = 0;

	(void)unlinkat(vm->dir, CHAIN_NEXT, 0);
	if (faccessat(vm->dir, layer, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (!top_is_first_layer(vm, pushed)) {
		if (linkat(vm->dir, layer, vm->dir, CHAIN_NEXT, 0) < 0)
			return error_errno(err, "cannot link '%s'", CHAIN_NEXT);
		r = rename_next(vm, err);
	}
	if (r == 0)
		r = disk_write(vm, old, err);
	if (r == 0)
		(void)unlinkat(vm->dir, layer, 0);
	return r;
}

static int freeze(const struct vm *vm, struct disk_chain *chain, const struct disk_chain *pushed,
		  disk_switch_fn switch_over, void *arg, struct error *err)
{
	auto_fd overlay = make_next(vm, pushed->size, err);
	struct error failed = ERROR_INIT;
	int r = overlay < 0 ? overlay : put_in_place(vm, pushed, err);

	if (r == 0 && switch_over)
		r = switch_over(arg, overlay, err);
	if (r < 0 && put_back(vm, chain, pushed, &failed) < 0)
		return error_wrap(err, "%s; and it could not be taken back", failed.text);
	if (r < 0)
		return r;
	if (!switch_over)
		(void)!fchmodat(vm->dir, pushed->layers[1].file, 0400, 0);
	*chain = *pushed;
	return 0;
}

int disk_freeze(const struct vm *vm, struct disk_chain *chain, disk_switch_fn switch_over,
		void *arg, struct error *err)
{
	struct disk_chain pushed;
	char layer[DISK_NAME];
	int r;

	if (chain->count == DISK_LAYERS_MAX)
		return error_set(err, E_TOO_BIG,
				 "the disk of VM \"%s\" is %d layers deep, they are merged when it "
				 "is stopped and run or cloned again",
				 vm->name, DISK_LAYERS_MAX);
	chain_new_layer_name(layer);
	pushed = push_layer(chain, layer);
	r = freeze(vm, chain, &pushed, switch_over, arg, err);
	return r < 0 ? error_wrap(err, "the disk of VM \"%s\"", vm->name) : 0;
}
