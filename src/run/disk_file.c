/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * What a path names is looked at before it is opened (O_PATH), since opening a FIFO or a tape has
 * effects. A file in use is found by two locks: the flock of whoever writes to it as an additional
 * disk, and the bytes that every QEMU locks in the files that it has open (file-posix.c), which
 * also show the disk of a running VM.
 */

#include "run/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "run/disk_option.h"
#include "run/home_path.h"

enum {
	/* bytes that a QEMU locks: it writes; nobody else may write */
	QEMU_WRITES = 101,
	QEMU_ALONE = 201,
	/* the QEMU of a `run` that was killed ends some moments later */
	PATIENCE_MS = 1000,
	PAUSE_MS = 10,
	FD_PATH = sizeof("/proc/self/fd/2147483647"),
};

bool disk_file_is_device(const char *path)
{
	auto_free char *real = home_path_expand(path);
	struct stat st;

	return stat(real, &st) == 0 && S_ISBLK(st.st_mode);
}

static int open_again(int fd, int flags)
{
	char path[FD_PATH];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

static int device_error(const char *path, struct error *err)
{
	if (errno == EBUSY)
		return error_set(err, E_FAILED,
				 "disk '%s' is already in use, try unmounting it by \"umount %s\"",
				 path, path);
	if (errno == EACCES || errno == EPERM)
		return error_set(err, E_FAILED,
				 "disk '%s': permission denied, consider changing its owner by "
				 "\"sudo chown $USER %s\" or running linzer as root",
				 path, path);
	return error_errno(err, "cannot open disk '%s'", path);
}

static int open_device(int found, const char *path, const struct disk_option *option,
		       struct error *err)
{
	auto_fd fd = -1;
	int r = disk_option_check_device(option, err);

	if (r < 0)
		return r;
	/* who only reads does not mind that it is mounted */
	fd = open_again(found, option->read_only ? O_RDONLY : O_RDWR | O_EXCL);
	return fd < 0 ? device_error(path, err) : take_fd(&fd);
}

static bool is_locked(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
	};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool is_in_use(int fd, bool read_only)
{
	if (is_locked(fd, QEMU_WRITES))
		return true;
	return !read_only && (is_locked(fd, QEMU_ALONE) || flock(fd, LOCK_EX | LOCK_NB) < 0);
}

static int check_unused(int fd, const char *path, bool read_only, struct error *err)
{
	uint64_t deadline = clock_ms() + PATIENCE_MS;

	while (is_in_use(fd, read_only)) {
		if (clock_ms() >= deadline)
			return error_set(
				err, E_FAILED,
				"disk %s seems to be already in use, unmount it first or stop "
				"the VM that has it",
				path);
		clock_sleep_ms(PAUSE_MS);
	}
	return 0;
}

/* A frozen layer and an image's disk have no write bit, which means root, too: others share them.
 */
static int check_file(const struct stat *st, const char *path, bool read_only, struct error *err)
{
	if (!S_ISREG(st->st_mode))
		return error_set(err, E_FAILED,
				 "disk '%s' is neither a regular file nor a block device", path);
	if (st->st_size == 0)
		return error_set(err, E_FAILED, "disk '%s' is empty", path);
	if (!read_only && !(st->st_mode & 0222))
		return error_set(err, E_FAILED,
				 "disk '%s' is write-protected: \"%s:ro\" attaches it read-only",
				 path, path);
	return 0;
}

static int open_file(int found, const char *path, bool read_only, struct error *err)
{
	auto_fd fd = open_again(found, read_only ? O_RDONLY : O_RDWR);
	int r;

	if (fd < 0)
		return error_errno(err, "cannot open disk '%s'", path);
	r = check_unused(fd, path, read_only, err);
	return r < 0 ? r : take_fd(&fd);
}

int disk_file_open(const char *path, const struct disk_option *option, struct plan_layer *layer,
		   struct error *err)
{
	auto_free char *real = home_path_expand(path);
	auto_fd found = open(real, O_PATH | O_CLOEXEC);
	struct stat st;
	int fd, r;

	if (found < 0 || fstat(found, &st) < 0)
		return error_errno(err, "cannot open disk '%s'", path);
	if (S_ISBLK(st.st_mode)) {
		fd = open_device(found, path, option, err);
	} else {
		r = check_file(&st, path, option->read_only, err);
		fd = r < 0 ? r : open_file(found, path, option->read_only, err);
	}
	if (fd < 0)
		return fd;
	*layer = (struct plan_layer){ .fd = fd, .device = S_ISBLK(st.st_mode) };
	return 0;
}
