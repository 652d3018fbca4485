/* SPDX-License-Identifier: Apache-2.0 */
#include "store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "store/chain.h"
#include "store/vm.h"

enum {
	CHAIN_FILE_MAX = 64 * 1024,
	QEMU_WRITES =
		101, /* the byte that a QEMU locks in a file that it writes to (file-posix.c) */
	UNUSED_MS = 10 * 1000,
	UNUSED_PAUSE_MS = 2,
};

int disk_write(const struct vm *vm, const struct disk_chain *chain, struct error *err)
{
	auto_str text = STR_INIT;

	if (chain_is_raw(chain) && !chain_is_pending(chain)) {
		if (unlinkat(vm->dir, CHAIN_FILE, 0) < 0 && errno != ENOENT)
			return error_errno(err, "cannot remove '%s'", CHAIN_FILE);
		return fs_sync_dir(vm->dir, ".", err);
	}
	chain_format(chain, &text);
	return fs_replace_file(vm->dir, CHAIN_FILE, text.ptr, text.len, 0600, err);
}

int disk_peek(const struct vm *vm, struct disk_chain *chain, struct error *err)
{
	auto_str text = STR_INIT;
	struct stat st;
	int r = fs_read_file(vm->dir, CHAIN_FILE, CHAIN_FILE_MAX, &text, err);

	if (r == 0) {
		r = disk_parse(text.ptr, text.len, chain, err);
		return r < 0 ? error_wrap(err, "%s of VM \"%s\"", CHAIN_FILE, vm->name) : 0;
	}
	if (r != -ENOENT)
		return error_wrap(err, "VM \"%s\"", vm->name);
	if (fstatat(vm->dir, CHAIN_TOP, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, "%s of VM \"%s\"", CHAIN_TOP, vm->name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, E_INVALID, "%s of VM \"%s\" is not a regular file", CHAIN_TOP,
				 vm->name);
	chain_set_raw(chain, (uint64_t)st.st_size);
	return 0;
}

int disk_read_size(const struct vm *vm, uint64_t *size, struct error *err)
{
	struct disk_chain chain;
	int r = disk_peek(vm, &chain, err);

	if (r == 0)
		*size = chain.size;
	return r;
}

int disk_open_file(const struct vm *vm, const char *name, int flags, struct error *err)
{
	auto_fd fd =
		openat(vm->dir, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 && errno == ELOOP)
		return error_set(err, E_INVALID, "%s of VM \"%s\" is a symbolic link", name,
				 vm->name);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, "%s of VM \"%s\"", name, vm->name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, E_INVALID, "%s of VM \"%s\" is not a regular file", name,
				 vm->name);
	return take_fd(&fd);
}

static bool qemu_writes(int fd)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = QEMU_WRITES, .l_len = 1
	};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int disk_wait_unused(const struct vm *vm, struct error *err)
{
	auto_fd fd = disk_open_file(vm, CHAIN_TOP, O_RDONLY, err);
	uint64_t deadline = clock_ms() + UNUSED_MS;

	if (fd < 0)
		return fd;
	while (qemu_writes(fd)) {
		if (clock_ms() >= deadline)
			return error_set(err, E_RUNNING, "another QEMU uses the disk of VM \"%s\"",
					 vm->name);
		clock_sleep_ms(UNUSED_PAUSE_MS);
	}
	return 0;
}

static int check_qcow2(int fd, const struct disk_chain *chain, size_t i, struct error *err)
{
	struct qcow2_header header;
	int r = qcow2_read_header(fd, &header, err);

	if (r < 0)
		return r;
	/* a disk only grows, and only its top at that */
	if (i ? header.size > chain->size : header.size != chain->size)
		return error_set(err, E_INVALID, "its virtual size is not what %s says",
				 CHAIN_FILE);
	return 0;
}

static int check_raw(int fd, const struct disk_chain *chain, size_t i, struct error *err)
{
	uint64_t expected = i ? chain->layers[i].length : chain->size;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read");
	if (expected && (uint64_t)st.st_size != expected)
		return error_set(err, E_INVALID, "it has %lld bytes instead of %llu",
				 (long long)st.st_size, (unsigned long long)expected);
	return 0;
}

static int open_layer(const struct vm *vm, const struct disk_chain *chain, size_t i, int flags,
		      struct error *err)
{
	const struct disk_layer *layer = &chain->layers[i];
	auto_fd fd = disk_open_file(vm, layer->file, flags, err);
	int r;

	if (fd == -ENOENT)
		return error_set(err, E_INVALID, "%s of VM \"%s\" is missing", layer->file,
				 vm->name);
	if (fd < 0)
		return fd;
	r = layer->qcow2 ? check_qcow2(fd, chain, i, err) : check_raw(fd, chain, i, err);
	if (r < 0)
		return error_wrap(err, "%s of VM \"%s\"", layer->file, vm->name);
	return take_fd(&fd);
}

int disk_open_layers(const struct vm *vm, const struct disk_chain *chain, bool read_only,
		     int fds[DISK_LAYERS_MAX], struct error *err)
{
	for (size_t i = 0; i < chain->count; i++) {
		int flags = i == 0 && !read_only ? O_RDWR : O_RDONLY;

		fds[i] = open_layer(vm, chain, i, flags, err);
		if (fds[i] >= 0)
			continue;
		for (size_t j = 0; j < i; j++)
			(void)close(fds[j]);
		return fds[i];
	}
	return 0;
}
