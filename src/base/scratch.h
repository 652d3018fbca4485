/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SCRATCH_H
#define BASE_SCRATCH_H

/*
 * For tests only: a directory of the test's own, mostly under $TEST_DIR (else /var/tmp), whose name
 * begins with SCRATCH_PREFIX. It is flocked as long as the test lives, and every test first removes
 * the directories of that prefix that nobody holds: so what a killed test left goes with the
 * next one, and tests that run at the same time are let be. tests/scratch.py does the same.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/str.h"

#define SCRATCH_PREFIX "linzer-test-"

struct scratch {
	char path[96];
	int lock;
};

static inline void scratch_sweep(const char *where)
{
	DIR *d = opendir(where);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct error ignored = ERROR_INIT;
		auto_fd fd = -1;

		if (!str_starts(e->d_name, SCRATCH_PREFIX))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)!fs_remove_tree(dirfd(d), e->d_name, &ignored);
	}
	if (d)
		(void)closedir(d);
}

static inline const char *scratch_place(void)
{
	const char *where = getenv("TEST_DIR");

	return where ? where : "/var/tmp";
}

/* A directory in @where, mostly scratch_place(). Return: 0 or -1. */
static inline int scratch_open(struct scratch *scratch, const char *where)
{
	scratch_sweep(where);
	for (;;) {
		struct error ignored = ERROR_INIT;

		(void)snprintf(scratch->path, sizeof(scratch->path), "%s/" SCRATCH_PREFIX "XXXXXX",
			       where);
		if (!mkdtemp(scratch->path)) /* mode 0700 */
			return -1;
		scratch->lock = lock_dir(AT_FDCWD, scratch->path, LOCK_WAIT, &ignored);
		if (scratch->lock >= 0) /* else another sweep was quicker */
			return 0;
	}
}

static inline int scratch_close(struct scratch *scratch)
{
	struct error err = ERROR_INIT;
	int r = fs_remove_tree(AT_FDCWD, scratch->path, &err);

	(void)close(scratch->lock);
	return r;
}

#endif
