/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DIR_ARCHIVE_H
#define RUN_DIR_ARCHIVE_H

/*
 * --dir of an archive on the web (contract 7.5): fetched into cache/archives (dir_cache.h),
 * unpacked into tmp/<UUID>.volume, and shared from there like any folder until the VM ends.
 */

#include <stddef.h>

#include "base/attr.h"
#include "run/dir_option.h"

struct error;
struct home;
struct identity;

struct dir_archive {
	size_t option; /* its number */
	int file; /* the archive */
	char *volume; /* the path in tmp/; NULL: not unpacked */
	int lock; /* on the volume */
};

struct dir_archives {
	struct dir_archive items[DIR_OPTIONS_MAX];
	size_t count;
};
#define DIR_ARCHIVES_INIT  \
	{                  \
		.count = 0 \
	}

/* Have the archives of all options that are URLs; what is done is told on stdout. */
int dir_archives_fetch(struct dir_archives *archives, const struct dir_options *dirs,
		       const struct home *home, struct error *err) must_use_;
/*
 * Unpack them, as the engine's user where we are root: the files are his, and the options' paths
 * are the folders with them from now on.
 */
int dir_archives_unpack(struct dir_archives *archives, struct dir_options *dirs,
			const struct home *home, const struct identity *identity,
			struct error *err) must_use_;
/* Remove what was unpacked. (After a SIGKILL, the next command does, since nobody has the lock.) */
void dir_archives_release(struct dir_archives *archives);
#define auto_dir_archives cleanup_(dir_archives_release) struct dir_archives

#endif
