/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A guest makes directories in a shared folder as deep as it likes, and each level that is open
 * takes a descriptor and a piece of the stack. So what lies deeper than LEVELS is moved up, into
 * the tree's own root, under a name that nobody knew, and goes from there.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"

enum { LEVELS = 64 };

struct removal {
	int root; /* the tree's, borrowed; -1: not open yet */
	unsigned level; /* directories that are open */
	bool moved; /* something came into the root since it was last read */
};

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

/* Let its owner, who we may be, remove what is in the directory behind @fd. */
static void open_up(int fd)
{
	char path[sizeof("/proc/self/fd/") + 12];
	struct stat st;

	if (fstat(fd, &st) < 0 || (st.st_mode & S_IRWXU) == S_IRWXU)
		return;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)chmod(path, st.st_mode | S_IRWXU);
}

enum { DIRECTORY = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* What a guest made of a shared folder's modes does not keep the folder. Return: O_PATH or -1. */
static int find_directory(int dir, const char *name)
{
	int place = openat(dir, name, O_PATH | DIRECTORY);

	if (place >= 0)
		open_up(place);
	return place;
}

static int open_to_remove(int dir, const char *name)
{
	auto_fd place = find_directory(dir, name);

	return place < 0 ? -1 : openat(dir, name, O_RDONLY | DIRECTORY);
}

static int move_up(struct removal *removal, int dir, const char *name, struct error *err)
{
	auto_fd place = find_directory(dir, name); /* its ".." changes: it is written to */
	char fresh[33];

	fs_random_hex(fresh, 16);
	if (place < 0 || renameat(dir, name, removal->root, fresh) < 0)
		return errno == ENOENT ? 0 : error_errno(err, "cannot remove '%s'", name);
	removal->moved = true;
	return 0;
}

static int remove_entries(struct removal *removal, int dir, const char *name, struct error *err);

static int remove_one(struct removal *removal, int dir, const char *name, struct error *err)
{
	int r;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR) /* Linux; POSIX says EPERM, which here is an immutable file */
		return error_errno(err, "cannot remove '%s'", name);
	if (removal->level == LEVELS)
		return move_up(removal, dir, name, err);
	r = remove_entries(removal, dir, name, err);
	if (r < 0)
		return r;
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return error_errno(err, "cannot remove '%s'", name);
	return 0;
}

static int remove_all(struct removal *removal, DIR *d, struct error *err)
{
	struct dirent *e;
	int r = 0;

	while (r == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = remove_one(removal, dirfd(d), e->d_name, err);
	return r;
}

static int remove_entries(struct removal *removal, int dir, const char *name, struct error *err)
{
	int fd = open_to_remove(dir, name), r;
	cleanup_(close_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		if (fd < 0 && errno == ENOENT)
			return 0;
		(void)error_errno(err, "cannot remove '%s'", name);
		cleanup_close_(&fd);
		return -err->code;
	}
	if (removal->level++ == 0)
		removal->root = fd;
	do {
		removal->moved &= fd != removal->root;
		rewinddir(d);
		r = remove_all(removal, d, err);
	} while (r == 0 && fd == removal->root && removal->moved);
	removal->level--;
	return r;
}

int fs_remove_tree(int dir, const char *path, struct error *err)
{
	struct removal removal = { .root = -1 };

	return remove_one(&removal, dir, path, err);
}
