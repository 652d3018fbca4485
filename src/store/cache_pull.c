/* SPDX-License-Identifier: Apache-2.0 */
#include "store/cache_pull.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/str.h"
#include "store/home.h"

/* Return: 1 it was there, 0 it is new, or error. */
static int make_directory(const char *path, struct error *err)
{
	if (mkdir(path, 0700) == 0)
		return 0;
	return errno == EEXIST ? 1 : error_errno(err, "cannot create '%s'", path);
}

/* Return: the lock, -ENOENT it was published or pruned meanwhile, or error. */
static int lock_patiently(const char *path, void (*waiting)(void), bool *told, struct error *err)
{
	int fd = lock_dir(AT_FDCWD, path, LOCK_TRY, err);

	if (fd != -EWOULDBLOCK)
		return fd;
	if (waiting && !*told)
		waiting();
	*told = true;
	return lock_dir(AT_FDCWD, path, LOCK_WAIT, err);
}

int cache_pull_open(const struct home *home, const struct digest *digest, void (*waiting)(void),
		    struct cache_pull *pull, struct error *err)
{
	auto_free char *pulls = str_format("%s/pulls", home->cache);
	auto_free char *path = NULL;
	char text[DIGEST_TEXT];
	bool told = false;
	int was_there = fs_mkdirs(pulls, err), fd = -ENOENT;

	if (was_there < 0)
		return was_there;
	digest_format(digest, text);
	path = str_format("%s/%s", pulls, text + strlen("sha256:"));
	while (fd == -ENOENT) {
		was_there = make_directory(path, err);
		if (was_there < 0)
			return was_there;
		fd = lock_patiently(path, waiting, &told, err);
	}
	if (fd < 0)
		return fd;
	*pull = (struct cache_pull){ .path = take(path), .dir = fd };
	return was_there;
}

int cache_pull_file(const struct cache_pull *pull, const char *name, struct error *err)
{
	struct stat st;
	int r = 0;

	if (fstatat(pull->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		r = st.st_nlink > 1 ? unlinkat(pull->dir, name, 0)
				    : fchmodat(pull->dir, name, 0600, 0);
	if (r < 0)
		return error_errno(err, "cannot change '%s' of an unfinished pull", name);
	return fs_open(pull->dir, name, O_RDWR | O_CREAT | O_NOFOLLOW, err);
}

void cache_pull_release(struct cache_pull *pull)
{
	free(pull->path);
	if (pull->dir >= 0)
		(void)close(pull->dir);
	*pull = (struct cache_pull)CACHE_PULL_INIT;
}

void cache_pull_discard(struct cache_pull *pull)
{
	struct error ignored = ERROR_INIT;

	if (pull->path)
		(void)!fs_remove_tree(AT_FDCWD, pull->path, &ignored);
	cache_pull_release(pull);
}
