/* SPDX-License-Identifier: Apache-2.0 */

/* What `set` does to a disk. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "store/chain.h"
#include "store/state.h"
#include "store/vm.h"

enum { SIZE_TEXT = 32 };

/* "10 GB", "1.5 GB", "512 bytes": decimal units, one decimal where it is not zero. */
static void format_size(uint64_t bytes, char text[SIZE_TEXT])
{
	static const char *const units[] = { "KB", "MB", "GB", "TB" };
	uint64_t unit = 1000;
	size_t u = 0;

	if (bytes < unit) {
		(void)snprintf(text, SIZE_TEXT, "%llu bytes", (unsigned long long)bytes);
		return;
	}
	while (u + 1 < array_size(units) && bytes / unit >= 1000) {
		unit *= 1000;
		u++;
	}
	if (bytes % unit * 10 / unit)
		(void)snprintf(text, SIZE_TEXT, "%llu.%llu %s", (unsigned long long)(bytes / unit),
			       (unsigned long long)(bytes % unit * 10 / unit), units[u]);
	else
		(void)snprintf(text, SIZE_TEXT, "%llu %s", (unsigned long long)(bytes / unit),
			       units[u]);
}

int disk_lock_stopped(const struct vm *vm, struct disk_chain *chain, struct error *err)
{
	auto_fd lock = vm_lock(vm, err);
	int r;

	if (lock < 0)
		return lock;
	if (vm_running_pid(vm))
		return error_set(err, E_RUNNING, "VM \"%s\" is running", vm->name);
	if (state_exists(vm))
		return error_set(
			err, E_FAILED,
			"VM \"%s\" is suspended, and its state would not fit to another disk: "
			"'linzer stop' forgets it",
			vm->name);
	r = disk_wait_unused(vm, err);
	if (r == 0)
		r = disk_read(vm, chain, err);
	return r < 0 ? r : take_fd(&lock);
}

static int grow_raw(const struct vm *vm, uint64_t size, struct error *err)
{
	auto_fd fd = disk_open_file(vm, CHAIN_TOP, O_RDWR, err);

	if (fd < 0)
		return fd;
	if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0)
		return error_errno(err, "cannot resize the disk of VM \"%s\"", vm->name);
	return 0;
}

/* The header first: where a crash leaves the two different, disk_read() believes the greater. */
static int grow_overlay(const struct vm *vm, struct disk_chain *chain, uint64_t size,
			struct error *err)
{
	auto_fd fd = disk_open_file(vm, CHAIN_TOP, O_RDWR, err);
	int r = fd < 0 ? fd : qcow2_grow(fd, size, err);

	if (r < 0)
		return r;
	chain->size = size;
	return disk_write(vm, chain, err);
}

int vm_resize_disk(const struct vm *vm, uint64_t size, struct error *err)
{
	struct disk_chain chain = { 0 };
	char wanted[SIZE_TEXT], present[SIZE_TEXT];
	auto_fd lock = disk_lock_stopped(vm, &chain, err);

	if (lock < 0)
		return lock;
	if (size == chain.size)
		return 0;
	if (size < chain.size) {
		format_size(size, wanted);
		format_size(chain.size, present);
		return error_set(
			err, E_FAILED,
			"new disk size of %s should be larger than the current disk size of %s",
			wanted, present);
	}
	if (size > QCOW2_SIZE_MAX)
		return error_set(err, E_TOO_BIG, "a disk cannot have %llu bytes",
				 (unsigned long long)size);
	return chain_is_raw(&chain) ? grow_raw(vm, size, err) : grow_overlay(vm, &chain, size, err);
}

int disk_copy_next(const struct vm *vm, int from, struct error *err)
{
	auto_fd to = fs_open(vm->dir, CHAIN_NEXT, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, err);
	int r = to < 0 ? to : fs_copy(from, to, err);

	return r < 0 ? r : take_fd(&to);
}

static int copy_next(const struct vm *vm, int from, struct disk_chain *chain, struct error *err)
{
	auto_fd to = disk_copy_next(vm, from, err);

	return to < 0 ? to : disk_commit_raw(vm, to, chain, err);
}

int vm_replace_disk(const struct vm *vm, const char *path, struct error *err)
{
	struct error ignored = ERROR_INIT;
	struct disk_chain chain;
	struct stat st;
	auto_fd from = fs_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, err);
	auto_fd lock = -1;
	int r;

	if (from < 0)
		return from;
	if (fstat(from, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, E_FAILED, "'%s' is not a regular file", path);
	lock = disk_lock_stopped(vm, &chain, err);
	if (lock < 0)
		return lock;
	r = copy_next(vm, from, &chain, err);
	if (r < 0) {
		(void)!disk_read(vm, &chain, &ignored); /* ends or sweeps what was begun */
		return error_wrap(err, "the disk of VM \"%s\"", vm->name);
	}
	return 0;
}

int vm_flatten_disk(const struct vm *vm, struct error *err)
{
	struct disk_chain chain;
	auto_fd lock = disk_lock_stopped(vm, &chain, err);

	if (lock < 0)
		return lock;
	return chain_is_raw(&chain) ? 0 : disk_flatten(vm, &chain, err);
}
