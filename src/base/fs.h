/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FS_H
#define BASE_FS_H

/*
 * Files and directories. Every descriptor is O_CLOEXEC from birth. Functions
 * that take a directory descriptor work beneath it; AT_FDCWD is the current
 * directory. What replaces a file does so by rename after fsync, so that a
 * crash leaves the old or the new content and nothing between.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/attr.h"

struct error;
struct str;

/* Open @path (an openat() with O_CLOEXEC and @mode 0600). Return: fd or error. */
int fs_open(int dir, const char *path, int flags, struct error *err) must_use_;

/* Open the file of @fd anew, with access of its own. Return: fd or error. */
int fs_reopen(int fd, int flags, struct error *err) must_use_;

/*
 * Append the whole of a regular file to @out; E_TOO_BIG if it is larger than
 * @limit bytes. Never follows into a FIFO or device.
 */
int fs_read_file(int dir, const char *path, size_t limit, struct str *out,
		 struct error *err) must_use_;
/*
 * Append to @out what a user named on the command line: the file, pipe or device @path, or the
 * standard input for "-", to its end. E_TOO_BIG: it has more than @limit bytes.
 */
int fs_read_input(const char *path, size_t limit, struct str *out, struct error *err) must_use_;
/* What to call that: @path, or "standard input". */
const char *fs_input_name(const char *path);

/*
 * Replace (or make) @path, mode @mode, with @len bytes: written beside it,
 * fsynced, renamed, directory fsynced. On failure the old file is untouched
 * and nothing is left beside it.
 */
int fs_replace_file(int dir, const char *path, const void *bytes, size_t len, mode_t mode,
		    struct error *err) must_use_;

/*
 * Overwrite the content of the existing file behind @fd in place, keeping its
 * inode (for files that carry a lock): written, truncated to @len, fsynced.
 * A crash in the middle can leave a mixture; see fs_replace_file().
 */
int fs_overwrite(int fd, const void *bytes, size_t len, struct error *err) must_use_;

/* All of @len bytes, at the current offset (at @offset). */
int fs_write_all(int fd, const void *bytes, size_t len, struct error *err) must_use_;
int fs_pwrite_all(int fd, const void *bytes, size_t len, off_t offset, struct error *err) must_use_;
/*
 * The same, but of each page (4 KiB) of the file of which these bytes are all zero nothing is
 * written: where the file had a hole it stays one. Gives the file no length.
 */
int fs_pwrite_sparse(int fd, const void *bytes, size_t len, off_t offset,
		     struct error *err) must_use_;
/* Are all of the bytes zero? */
bool fs_all_zero(const void *bytes, size_t len);
/* Exactly @len bytes from @offset; a shorter file is E_INVALID. */
int fs_pread_all(int fd, void *bytes, size_t len, off_t offset, struct error *err) must_use_;

/* mkdir -p with mode 0700: what we make is nobody else's, whatever his umask. */
int fs_mkdirs(const char *path, struct error *err) must_use_;
/* rm -rf of @path beneath @dir, never following a link. Absent is success. */
int fs_remove_tree(int dir, const char *path, struct error *err) must_use_;
/* fsync a directory (so that names in it are durable). */
int fs_sync_dir(int dir, const char *path, struct error *err) must_use_;

/*
 * Copy the content of @from to the empty file @to, holes stay holes, and
 * aligned blocks of 64 KiB of zeroes become holes. Both offsets are ignored. A
 * file that shrinks meanwhile is E_INVALID.
 */
int fs_copy_sparse(int from, int to, struct error *err) must_use_;
/*
 * Make the empty @to share all extents of @from (FICLONE).
 * Return: 1 shared; 0 this file system cannot (nothing was done); or error.
 */
int fs_reflink(int from, int to, struct error *err) must_use_;
/* The one where it can be had, else the other. */
int fs_copy(int from, int to, struct error *err) must_use_;
/* Bytes that a file occupies on its disk. */
uint64_t fs_allocated(const struct stat *st);
/*
 * Bytes that would come back if this one name of the regular file behind
 * @fd went: 0 if it has other names; extents shared by reflink do not
 * count (FIEMAP; where the file system has none, all that it occupies).
 */
int fs_exclusive_bytes(int fd, uint64_t *bytes, struct error *err) must_use_;

/* @n random bytes as 2n lower-case hex digits and a NUL into @text. */
void fs_random_hex(char *text, size_t n);
enum { FS_UUID_SIZE = 37 };
/* A random UUID (RFC 9562, version 4) as text, with its NUL. */
void fs_random_uuid(char text[FS_UUID_SIZE]);

#endif
