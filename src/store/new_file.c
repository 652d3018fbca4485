/* SPDX-License-Identifier: Apache-2.0 */
#include "store/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum { MODE = 0644 };

/* A name that nobody else has; owned by the caller. */
static char *fresh_name(void)
{
	char hex[33];

	fs_random_hex(hex, 16);
	return str_format(".tmp-%s", hex);
}

/* Open the directory of @path and note the last component. */
static int locate(const char *path, struct new_file *file, struct error *err)
{
	const char *slash = strrchr(path, '/');
	auto_free char *parent =
		!slash ? xstrdup(".") : xstrndup(path, slash == path ? 1 : (size_t)(slash - path));

	file->name = xstrdup(slash ? slash + 1 : path);
	file->dir = fs_open(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY, err);
	return file->dir < 0 ? file->dir : 0;
}

static int open_nameless(struct new_file *file)
{
	file->fd = openat(file->dir, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, MODE);
	return file->fd;
}

static int open_named(struct new_file *file, const char *path, struct error *err)
{
	file->temporary = fresh_name();
	file->fd =
		openat(file->dir, file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE);
	if (file->fd >= 0)
		return 0;
	free(file->temporary);
	file->temporary = NULL;
	return error_errno(err, "cannot create '%s'", path);
}

/* Does @path name the file behind @fd? It may be a name of another mount namespace's. */
static bool is_name_of(const char *path, int fd)
{
	struct stat named, open;

	return lstat(path, &named) == 0 && fstat(fd, &open) == 0 && named.st_ino == open.st_ino &&
	       named.st_dev == open.st_dev;
}

/*
 * What @path leads to, NULL: nothing is there. The kernel follows the links, not we: it follows
 * none that somebody else has put into a directory like /tmp (fs.protected_symlinks).
 */
static int resolve(const char *path, char **target, struct error *err)
{
	auto_fd fd = open(path, O_PATH | O_CLOEXEC);
	char self[sizeof("/proc/self/fd/") + 3 * sizeof(int)], real[PATH_MAX];
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "cannot create '%s'", path);
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, real, sizeof(real) - 1);
	if (n < 0)
		return error_errno(err, "cannot create '%s'", path);
	real[n] = '\0';
	if (is_name_of(real, fd))
		*target = xstrdup(real);
	return 0;
}

int new_file_open(const char *path, struct new_file *file, struct error *err)
{
	auto_free char *target = NULL;
	int r = resolve(path, &target, err);

	if (r == 0)
		r = locate(target ? target : path, file, err);
	if (r < 0)
		return r;
	if (open_nameless(file) >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL)
		return error_errno(err, "cannot create '%s'", path);
	return open_named(file, path, err);
}

/* Give the nameless file a name. Return: 0 or -errno. */
static int name_it(const struct new_file *file, const char *name)
{
	char self[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, self, file->dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int rename_it(const struct new_file *file, const char *from)
{
	int r = renameat(file->dir, from, file->dir, file->name) < 0 ? -errno : 0;

	if (r < 0)
		(void)unlinkat(file->dir, from, 0);
	return r;
}

/* A link cannot take the place of a file, so there it gets another name first. */
static int appear(struct new_file *file)
{
	auto_free char *name = file->temporary ? take(file->temporary) : NULL;
	int r;

	if (!name) {
		r = name_it(file, file->name);
		if (r != -EEXIST)
			return r;
		name = fresh_name();
		r = name_it(file, name);
		if (r < 0)
			return r;
	}
	return rename_it(file, name);
}

int new_file_publish(struct new_file *file, struct error *err)
{
	int r = fsync(file->fd) < 0 ? -errno : appear(file);

	if (r < 0) {
		errno = -r;
		return error_errno(err, "cannot write '%s'", file->name);
	}
	return fs_sync_dir(file->dir, ".", err);
}

void new_file_release(struct new_file *file)
{
	if (file->temporary)
		(void)unlinkat(file->dir, file->temporary, 0);
	cleanup_close_(&file->fd);
	cleanup_close_(&file->dir);
	free(file->name);
	free(file->temporary);
	*file = (struct new_file)NEW_FILE_INIT;
}
