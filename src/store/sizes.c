/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "store/disk.h"
#include "store/state.h"
#include "store/vm.h"

static void add_plain(const struct vm *vm, const char *name, struct vm_sizes *sizes)
{
	struct stat st;

	if (fstatat(vm->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	sizes->apparent += (uint64_t)st.st_size;
	sizes->allocated += fs_allocated(&st);
}

/* A stacked image is what its overlays make of its disk. */
static void add_overlays(const struct vm *vm, struct vm_sizes *sizes)
{
	struct stat st;

	for (unsigned i = 1;; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "overlay-%u.asif", i);
		if (fstatat(vm->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return;
		sizes->allocated += fs_allocated(&st);
	}
}

/* Nearly all of a suspended VM's state, and its alone. */
static void add_state(const struct vm *vm, struct vm_sizes *sizes)
{
	struct stat st;

	if (fstatat(vm->dir, STATE_DIR "/memory", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	sizes->allocated += fs_allocated(&st);
	sizes->exclusive += fs_allocated(&st);
}

static int add_disk(const struct vm *vm, struct vm_sizes *sizes, struct error *err)
{
	struct disk_chain chain;
	int r = disk_peek(vm, &chain, err);

	if (r < 0)
		return r;
	sizes->apparent += chain.size;
	for (size_t i = 0; i < chain.count; i++) {
		struct stat st;

		if (fstatat(vm->dir, chain.layers[i].file, &st, AT_SYMLINK_NOFOLLOW) == 0)
			sizes->allocated += fs_allocated(&st);
	}
	return 0;
}

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

/*
 * What the file @name alone would give back. config.json is never opened
 * (closing it would drop the caller's running lock); it is small.
 */
static int exclusive_of(int dir, const char *name, uint64_t *bytes, struct error *err)
{
	struct stat st;
	auto_fd fd = -1;

	*bytes = 0;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_nlink > 1)
		return 0;
	*bytes = fs_allocated(&st);
	if (strcmp(name, "config.json") == 0)
		return 0;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "cannot open '%s'", name);
	return fs_exclusive_bytes(fd, bytes, err);
}

static int add_exclusive(const struct vm *vm, struct vm_sizes *sizes, struct error *err)
{
	int fd = openat(vm->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_(close_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return error_errno(err, "cannot open '%s'", vm->path);
	while ((e = readdir(d))) {
		uint64_t bytes;
		int r = exclusive_of(fd, e->d_name, &bytes, err);

		if (r < 0)
			return r;
		sizes->exclusive += bytes;
	}
	return 0;
}

int vm_sizes(const struct vm *vm, bool exclusive, struct vm_sizes *sizes, struct error *err)
{
	struct vm_sizes sum = { 0 };
	int r;

	add_plain(vm, "config.json", &sum);
	add_plain(vm, "nvram.bin", &sum);
	add_overlays(vm, &sum);
	add_state(vm, &sum);
	r = add_disk(vm, &sum, err);
	if (r == 0 && exclusive)
		r = add_exclusive(vm, &sum, err);
	if (r < 0)
		return error_wrap(err, "VM \"%s\"", vm->name);
	*sizes = sum;
	return 0;
}
