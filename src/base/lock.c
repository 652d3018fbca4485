/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"

static int take_flock(int fd, const char *path, enum lock_wait wait, struct error *err)
{
	while (flock(fd, LOCK_EX | (wait == LOCK_TRY ? LOCK_NB : 0)) < 0)
		if (errno != EINTR)
			return error_errno(err, "failed to lock '%s'", path);
	return 0;
}

bool lock_still_names(int fd, int dir, const char *path)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstatat(dir, path, &b, 0) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int lock_open(int dir, const char *path, int flags, enum lock_wait wait, struct error *err)
{
	for (;;) {
		auto_fd fd = fs_open(dir, path, flags, err);
		int r;

		if (fd < 0)
			return fd;
		r = take_flock(fd, path, wait, err);
		if (r < 0)
			return r;
		/* replaced or removed while we waited: lock what is there now */
		if (lock_still_names(fd, dir, path))
			return take_fd(&fd);
	}
}

int lock_file(int dir, const char *path, bool create, enum lock_wait wait, struct error *err)
{
	return lock_open(dir, path, O_RDWR | O_NOFOLLOW | (create ? O_CREAT : 0), wait, err);
}

int lock_dir(int dir, const char *path, enum lock_wait wait, struct error *err)
{
	return lock_open(dir, path, O_RDONLY | O_DIRECTORY, wait, err);
}

static int record_try(int fd, short type, struct error *err)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 1;
	if (errno == EACCES || errno == EAGAIN)
		return 0;
	return error_errno(err, "failed to lock");
}

int lock_record_try(int fd, struct error *err)
{
	return record_try(fd, F_WRLCK, err);
}

int lock_record_share(int fd, struct error *err)
{
	return record_try(fd, F_RDLCK, err);
}

/* Who would not let us have a lock of @type? */
static pid_t record_owner(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	/* an OFD lock has no owner (-1), one from outside our pid namespace shows 0: never
	 * hand out what kill() would take for a group of processes */
	return lock.l_pid > 0 ? lock.l_pid : 0;
}

pid_t lock_record_owner(int fd)
{
	return record_owner(fd, F_WRLCK);
}

pid_t lock_record_writer(int fd)
{
	return record_owner(fd, F_RDLCK);
}
