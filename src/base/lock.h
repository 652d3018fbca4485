/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

/*
 * Two kinds of file lock.
 *
 * flock(): belongs to the open file description; used for short critical
 * sections and for tmp entries. A lock is held as long as its descriptor (and
 * every duplicate, also in children) is open.
 *
 * fcntl() record lock: the contract's "running" marker on config.json. It
 * belongs to the process AND THE INODE, is dropped when the process closes
 * any descriptor of that file, and names its owner's pid.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"

struct error;

enum lock_wait { LOCK_WAIT, LOCK_TRY };

/*
 * Open @path beneath @dir (made with mode 0600 if absent and @create) and
 * take an exclusive flock. After locking it checks that the path still names
 * the locked inode and starts anew if not.
 * Return: the descriptor, which is the lock; -EWOULDBLOCK with LOCK_TRY where
 * somebody else holds it (err filled); or another error.
 */
int lock_file(int dir, const char *path, bool create, enum lock_wait wait,
	      struct error *err) must_use_;
/* The same on a directory, opened read-only. */
int lock_dir(int dir, const char *path, enum lock_wait wait, struct error *err) must_use_;

/*
 * The running lock: a whole-file write lock by fcntl(F_SETLK) on @fd, open
 * for writing. Return: 1 taken; 0 held by another process; or error.
 */
int lock_record_try(int fd, struct error *err) must_use_;
/* A read lock: others may have one, too, but none of the former kind. @fd is open for reading. */
int lock_record_share(int fd, struct error *err) must_use_;
/* The pid that holds a record lock on the file behind @fd, 0 if none that we can name. */
pid_t lock_record_owner(int fd);
/* The same of a write lock alone. */
pid_t lock_record_writer(int fd);
/* Do @fd and @path beneath @dir name the same inode? */
bool lock_still_names(int fd, int dir, const char *path);

#endif
