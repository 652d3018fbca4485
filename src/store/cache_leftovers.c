/* SPDX-License-Identifier: Apache-2.0 */

/* cache/pulls/: what unfinished pulls left. Who works on one holds a flock on its directory. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/cache_tree.h"
#include "store/home.h"

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}
#define auto_dir cleanup_(close_dir) DIR

static DIR *open_pulls(const struct home *home)
{
	auto_free char *path = str_format("%s/pulls", home->cache);

	return opendir(path);
}

/* What is shared with an image, by name or by extents, stays where it is. */
static uint64_t exclusive_bytes(int dir, const char *name, const struct stat *st)
{
	auto_fd fd = -1;
	struct error ignored = ERROR_INIT;
	uint64_t bytes = 0;

	if (!S_ISREG(st->st_mode) || st->st_nlink > 1)
		return 0;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd >= 0 && fs_exclusive_bytes(fd, &bytes, &ignored) == 0 ? bytes : 0;
}

/* The newest change of any of its files (those are flat), and what they would give back. */
static void look_at(int pulls, struct cache_leftover *pull, bool measure)
{
	int fd = openat(pulls, pull->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_dir *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (fstatat(pulls, pull->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		pull->changed = st.st_mtime;
	while (d && (e = readdir(d))) {
		if (strcmp(e->d_name, "..") == 0 ||
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (measure)
			pull->size += exclusive_bytes(dirfd(d), e->d_name, &st);
		if (st.st_mtime > pull->changed)
			pull->changed = st.st_mtime;
	}
}

/* Ours is a shared lock for a moment, which a puller waits for. */
static bool is_held(int pulls, const char *name)
{
	auto_fd fd = openat(pulls, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0;
}

static int oldest_first(const void *a, const void *b)
{
	const struct cache_leftover *x = a, *y = b;

	return x->changed < y->changed ? -1 : x->changed > y->changed ? 1 : 0;
}

int cache_find_leftovers(const struct home *home, bool measure, struct cache_leftovers *pulls,
			 struct error *err)
{
	auto_dir *d = open_pulls(home);
	struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : error_errno(err, "cannot open the unfinished pulls");
	while ((e = readdir(d))) {
		struct cache_leftover pull = { 0 };

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    is_held(dirfd(d), e->d_name))
			continue;
		pull.name = xstrdup(e->d_name);
		look_at(dirfd(d), &pull, measure);
		if (pulls->len == pulls->cap) {
			pulls->cap = pulls->cap ? pulls->cap * 2 : 8;
			pulls->items = xrealloc(pulls->items, pulls->cap, sizeof(pulls->items[0]));
		}
		pulls->items[pulls->len++] = pull;
	}
	if (pulls->len) /* qsort() takes no null pointer */
		qsort(pulls->items, pulls->len, sizeof(pulls->items[0]), oldest_first);
	return 0;
}

void cache_leftovers_clear(struct cache_leftovers *pulls)
{
	for (size_t i = 0; i < pulls->len; i++)
		free(pulls->items[i].name);
	free(pulls->items);
	*pulls = (struct cache_leftovers){ 0 };
}

int cache_remove_leftover(const struct home *home, const char *name, struct error *err)
{
	auto_dir *d = open_pulls(home);
	auto_fd fd = -1;

	if (!d)
		return 0;
	fd = openat(dirfd(d), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || !lock_still_names(fd, dirfd(d), name))
		return 0;
	return fs_remove_tree(dirfd(d), name, err) < 0 ? -err->code : 1;
}
