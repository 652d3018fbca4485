/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

enum { PIECE = 16 * 1024 }; /* what is read at once where nobody knows how much comes */
enum { PAGE = 4096 }; /* the smallest hole that file systems make */

int fs_open(int dir, const char *path, int flags, struct error *err)
{
	int fd = openat(dir, path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_errno(err, "cannot open '%s'", path);
	return fd;
}

int fs_reopen(int fd, int flags, struct error *err)
{
	char path[sizeof("/proc/self/fd/") + 12];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fs_open(AT_FDCWD, path, flags, err);
}

static int read_to_end(int fd, size_t limit, struct str *text, struct error *err)
{
	for (;;) {
		ssize_t n;

		str_grow(text, PIECE);
		n = read(fd, text->ptr + text->len, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "cannot read");
		if (n == 0)
			return 0;
		str_set_len(text, text->len + (size_t)n);
		if (text->len > limit)
			return error_set(err, E_TOO_BIG, "more than %zu bytes", limit);
	}
}

const char *fs_input_name(const char *path)
{
	return strcmp(path, "-") == 0 ? "standard input" : path;
}

int fs_read_input(const char *path, size_t limit, struct str *out, struct error *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	auto_fd file = is_stdin ? -1 : fs_open(AT_FDCWD, path, O_RDONLY | O_NOCTTY, err);
	int r;

	if (!is_stdin && file < 0)
		return file;
	r = read_to_end(is_stdin ? STDIN_FILENO : file, limit, out, err);
	return r < 0 ? error_wrap(err, "%s", fs_input_name(path)) : 0;
}

int fs_read_file(int dir, const char *path, size_t limit, struct str *out, struct error *err)
{
	auto_fd fd = fs_open(dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, err);
	struct stat st;
	size_t start = out->len;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read '%s'", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, E_INVALID, "'%s' is not a regular file", path);
	for (;;) {
		ssize_t n;

		str_grow(out, 4096);
		n = read(fd, out->ptr + out->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "cannot read '%s'", path);
		if (n == 0)
			return 0;
		str_set_len(out, out->len + (size_t)n);
		if (out->len - start > limit)
			return error_set(err, E_TOO_BIG, "'%s' is larger than %zu bytes", path,
					 limit);
	}
}

int fs_write_all(int fd, const void *bytes, size_t len, struct error *err)
{
	const char *p = bytes;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "cannot write");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fs_pwrite_all(int fd, const void *bytes, size_t len, off_t offset, struct error *err)
{
	const char *p = bytes;

	while (len) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "cannot write");
		p += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The first is, and each equals the one before it: libc compares in vectors. */
bool fs_all_zero(const void *bytes, size_t len)
{
	const char *p = bytes;

	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/*
 * How many of the bytes at @offset are parts of pages that hold nothing but zeroes (@zero), or
 * something else, before one of the other kind comes?
 */
static size_t page_run(const char *bytes, size_t len, off_t offset, bool zero)
{
	size_t run = 0;

	while (run < len) {
		size_t part = PAGE - ((size_t)offset + run) % PAGE;

		if (part > len - run)
			part = len - run;
		if (fs_all_zero(bytes + run, part) != zero)
			break;
		run += part;
	}
	return run;
}

int fs_pwrite_sparse(int fd, const void *bytes, size_t len, off_t offset, struct error *err)
{
	const char *p = bytes;
	size_t at = 0;

	while (at < len) {
		size_t n;
		int r;

		at += page_run(p + at, len - at, offset + (off_t)at, /* zero= */ true);
		n = page_run(p + at, len - at, offset + (off_t)at, /* zero= */ false);
		r = fs_pwrite_all(fd, p + at, n, offset + (off_t)at, err);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

int fs_pread_all(int fd, void *bytes, size_t len, off_t offset, struct error *err)
{
	char *p = bytes;

	while (len) {
		ssize_t n = pread(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "cannot read");
		if (n == 0)
			return error_set(err, E_INVALID, "unexpected end of file");
		p += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int fs_overwrite(int fd, const void *bytes, size_t len, struct error *err)
{
	int r = fs_pwrite_all(fd, bytes, len, 0, err);

	if (r < 0)
		return r;
	if (ftruncate(fd, (off_t)len) < 0 || fsync(fd) < 0)
		return error_errno(err, "cannot write");
	return 0;
}

static int write_new(int dir, const char *name, const void *bytes, size_t len, mode_t mode,
		     struct error *err)
{
	auto_fd fd = fs_open(dir, name, O_WRONLY | O_CREAT | O_EXCL, err);
	int r;

	if (fd < 0)
		return fd;
	r = fs_write_all(fd, bytes, len, err);
	if (r < 0)
		return error_wrap(err, "'%s'", name);
	if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
		return error_errno(err, "cannot write '%s'", name);
	return 0;
}

/* The directory part of @path, "." where it has none; owned by the caller. */
static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return xstrdup(".");
	return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

int fs_replace_file(int dir, const char *path, const void *bytes, size_t len, mode_t mode,
		    struct error *err)
{
	char random[17];
	auto_free char *beside = NULL;
	auto_free char *parent = parent_of(path);
	int r;

	fs_random_hex(random, 8);
	beside = str_format("%s.%s.new", path, random);
	r = write_new(dir, beside, bytes, len, mode, err);
	if (r == 0 && renameat(dir, beside, dir, path) < 0)
		r = error_errno(err, "cannot replace '%s'", path);
	if (r < 0) {
		(void)unlinkat(dir, beside, 0);
		return r;
	}
	return fs_sync_dir(dir, parent, err);
}

static int make_dir(const char *path, struct error *err)
{
	struct stat st;

	if (mkdir(path, 0700) == 0)
		return 0;
	if (errno == EEXIST && stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return 0;
		errno = ENOTDIR;
	}
	return error_errno(err, "cannot create '%s'", path);
}

int fs_mkdirs(const char *path, struct error *err)
{
	auto_free char *copy = xstrdup(path);
	int r;

	for (char *c = copy; *c; c++) {
		if (*c != '/' || c == copy)
			continue;
		*c = '\0';
		r = make_dir(copy, err);
		if (r < 0)
			return r;
		*c = '/';
	}
	return make_dir(copy, err);
}

int fs_sync_dir(int dir, const char *path, struct error *err)
{
	auto_fd fd = fs_open(dir, path, O_RDONLY | O_DIRECTORY, err);

	if (fd < 0)
		return fd;
	if (fsync(fd) < 0)
		return error_errno(err, "cannot sync '%s'", path);
	return 0;
}

enum { COPY_BLOCK = 64 * 1024 };

static int copy_range(int from, int to, off_t start, off_t end, struct error *err)
{
	auto_free char *buffer = xmalloc(COPY_BLOCK);

	while (start < end) {
		/* blocks are aligned, so that holes can be */
		off_t room = COPY_BLOCK - start % COPY_BLOCK;
		size_t want = (size_t)(end - start < room ? end - start : room);
		ssize_t n = pread(from, buffer, want, start);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "cannot read");
		if (n == 0)
			return error_set(err, E_INVALID, "the file shrank while it was copied");
		r = fs_all_zero(buffer, (size_t)n)
			    ? 0
			    : fs_pwrite_all(to, buffer, (size_t)n, start, err);
		if (r < 0)
			return r;
		start += n;
	}
	return 0;
}

int fs_copy_sparse(int from, int to, struct error *err)
{
	struct stat st;
	off_t data, hole = 0;

	if (fstat(from, &st) < 0)
		return error_errno(err, "cannot read");
	if (ftruncate(to, st.st_size) < 0)
		return error_errno(err, "cannot write");
	while ((data = lseek(from, hole, SEEK_DATA)) >= 0) {
		int r;

		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return error_errno(err, "cannot read");
		r = copy_range(from, to, data, hole, err);
		if (r < 0)
			return r;
	}
	if (errno != ENXIO)
		return error_errno(err, "cannot read");
	return 0;
}

int fs_reflink(int from, int to, struct error *err)
{
	if (ioctl(to, FICLONE, from) == 0)
		return 1;
	if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EXDEV || errno == EINVAL ||
	    errno == ENOSYS)
		return 0;
	return error_errno(err, "cannot share extents");
}

int fs_copy(int from, int to, struct error *err)
{
	int r = fs_reflink(from, to, err);

	if (r > 0)
		return 0;
	return r < 0 ? r : fs_copy_sparse(from, to, err);
}

uint64_t fs_allocated(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512;
}

enum { FIEMAP_EXTENTS = 256 };

int fs_exclusive_bytes(int fd, uint64_t *bytes, struct error *err)
{
	auto_free struct fiemap *map =
		xcalloc(1, sizeof(*map) + FIEMAP_EXTENTS * sizeof(struct fiemap_extent));
	uint64_t start = 0, sum = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read");
	if (st.st_nlink > 1) {
		*bytes = 0;
		return 0;
	}
	for (;;) {
		const struct fiemap_extent *last;

		*map = (struct fiemap){ .fm_start = start,
					.fm_length = UINT64_MAX - start,
					.fm_extent_count = FIEMAP_EXTENTS };
		if (ioctl(fd, FS_IOC_FIEMAP, map) < 0) {
			*bytes = fs_allocated(&st);
			return 0;
		}
		if (!map->fm_mapped_extents)
			break;
		for (uint32_t i = 0; i < map->fm_mapped_extents; i++)
			if (!(map->fm_extents[i].fe_flags & FIEMAP_EXTENT_SHARED))
				sum += map->fm_extents[i].fe_length;
		last = &map->fm_extents[map->fm_mapped_extents - 1];
		if (last->fe_flags & FIEMAP_EXTENT_LAST || !last->fe_length)
			break;
		start = last->fe_logical + last->fe_length;
	}
	*bytes = sum;
	return 0;
}

void fs_random_hex(char *text, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		unsigned char c;

		if (getrandom(&c, 1, 0) != 1)
			abort();
		text[2 * i] = digits[c >> 4];
		text[2 * i + 1] = digits[c & 15];
	}
	text[2 * n] = '\0';
}

void fs_random_uuid(char text[FS_UUID_SIZE])
{
	char hex[33];

	fs_random_hex(hex, 16);
	hex[12] = '4';
	hex[16] = "89ab"[(unsigned char)hex[16] % 4];
	(void)snprintf(text, FS_UUID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
		       hex + 16, hex + 20);
}
