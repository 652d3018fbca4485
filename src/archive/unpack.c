/* SPDX-License-Identifier: Apache-2.0 */
#include "archive/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "archive/jail.h"
#include "base/error.h"

#define MEMORY_LIMIT (UINT64_C(1) << 30) /* bytes; xz -9 takes 65 MiB, zstd --ultra 128 */
enum {
	BLOCK = 256 * 1024,
	CPU_SECONDS = 1800,
	DIRECTORY_MODE = 0700, /* what the owner may do at least, so that all can be removed */
	FILE_MODE = 0600,
};

struct unpacking {
	struct archive *in, *out;
	uint64_t entries, bytes;
};

static void release(struct unpacking *u)
{
	(void)archive_read_free(u->in);
	(void)archive_write_free(u->out);
}

static int failed(struct archive *archive, struct error *err)
{
	const char *why = archive_error_string(archive);
	int code = archive_errno(archive);

	if (code == ENOSPC || code == EDQUOT)
		return error_set(err, code, "%s", why ? why : strerror(code));
	return error_set(err, E_INVALID, "cannot unpack the archive: %s",
			 why ? why : "no reason given");
}

/* No other formats, and no filter that starts a program. */
static int open_in(struct unpacking *u, int fd, struct error *err)
{
	u->in = archive_read_new();
	if (archive_read_support_format_tar(u->in) < ARCHIVE_WARN ||
	    archive_read_support_filter_gzip(u->in) < ARCHIVE_OK ||
	    archive_read_support_filter_bzip2(u->in) < ARCHIVE_OK ||
	    archive_read_support_filter_xz(u->in) < ARCHIVE_OK ||
	    archive_read_support_filter_lzma(u->in) < ARCHIVE_OK ||
	    archive_read_support_filter_lz4(u->in) < ARCHIVE_OK ||
	    archive_read_support_filter_zstd(u->in) < ARCHIVE_OK ||
	    archive_read_open_fd(u->in, fd, BLOCK) < ARCHIVE_OK)
		return failed(u->in, err);
	return 0;
}

static void open_out(struct unpacking *u)
{
	u->out = archive_write_disk_new();
	(void)archive_write_disk_set_options(u->out,
					     ARCHIVE_EXTRACT_TIME |
						     ARCHIVE_EXTRACT_SECURE_SYMLINKS |
						     ARCHIVE_EXTRACT_SECURE_NODOTDOT |
						     ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS);
}

/* Is there ".." among the parts of @path? Counts the others. */
static bool climbs(const char *path, unsigned *depth)
{
	*depth = 0;
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && path[0] == '.' && path[1] == '.')
			return true;
		*depth += len != 0;
		path += len + strspn(path + len, "/");
	}
	return false;
}

static int check_path(const char *path, struct error *err)
{
	unsigned depth;

	if (!path || *path == '\0')
		return error_set(err, E_INVALID, "the archive holds a file without a name");
	if (path[0] == '/')
		return error_set(err, E_INVALID, "the archive holds an absolute path: '%.200s'",
				 path);
	if (climbs(path, &depth))
		return error_set(err, E_INVALID, "the archive holds a path with '..': '%.200s'",
				 path);
	if (depth > UNPACK_DEPTH_MAX || strlen(path) > UNPACK_PATH_MAX)
		return error_set(err, E_TOO_BIG,
				 "the archive holds a path that is too long: '%.64s...'", path);
	return 0;
}

static int check_kind(struct archive_entry *entry, struct error *err)
{
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
	case AE_IFDIR:
	case AE_IFLNK:
		return 0;
	default:
		return error_set(err, E_INVALID,
				 "the archive holds what is neither a file, a folder nor a link: "
				 "'%.200s'",
				 archive_entry_pathname(entry));
	}
}

static int too_much(struct error *err)
{
	return error_set(err, E_TOO_BIG, "the archive unpacks to more than %" PRIu64 " bytes",
			 UNPACK_BYTES_MAX);
}

/* By the archive's word for its size, which libarchive and the jail keep it to. */
static int count_bytes(struct unpacking *u, struct archive_entry *entry, struct error *err)
{
	la_int64_t size = archive_entry_size(entry);

	if (size < 0 || (uint64_t)size > UNPACK_BYTES_MAX - u->bytes)
		return too_much(err);
	u->bytes += (uint64_t)size;
	return 0;
}

static int check_entry(struct unpacking *u, struct archive_entry *entry, struct error *err)
{
	const char *link = archive_entry_hardlink(entry);
	int r = check_path(archive_entry_pathname(entry), err);

	if (r < 0)
		return r;
	if (++u->entries > UNPACK_ENTRIES_MAX)
		return error_set(err, E_TOO_BIG, "the archive holds more than %d files",
				 UNPACK_ENTRIES_MAX);
	r = link ? check_path(link, err) : check_kind(entry, err);
	/* a link can bring content, too (pax), which gets into the file that it is to */
	return r < 0 ? r : count_bytes(u, entry, err);
}

/* Without what would make a file more than a file. */
static void plain(struct archive_entry *entry)
{
	mode_t mode = archive_entry_perm(entry) & (S_IRWXU | S_IRWXG | S_IRWXO);
	bool dir = archive_entry_filetype(entry) == AE_IFDIR;

	if (!archive_entry_hardlink(entry))
		archive_entry_set_perm(entry, mode | (dir ? DIRECTORY_MODE : FILE_MODE));
	archive_entry_xattr_clear(entry);
	archive_entry_acl_clear(entry);
	archive_entry_set_fflags(entry, 0, 0);
}

/* An archive's word for the size of a file is kept by libarchive, and by the jail. */
static int copy_content(struct unpacking *u, struct error *err)
{
	for (;;) {
		const void *bytes;
		size_t len;
		la_int64_t offset;
		int r = archive_read_data_block(u->in, &bytes, &len, &offset);

		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_OK)
			return failed(u->in, err);
		if (archive_write_data_block(u->out, bytes, len, offset) < ARCHIVE_OK)
			return failed(u->out, err);
	}
}

/* The archive's root is our directory, whose mode is ours to say. */
static bool is_root(const char *path)
{
	return path[strspn(path, "./")] == '\0';
}

static int unpack_entry(struct unpacking *u, struct archive_entry *entry, struct error *err)
{
	int r = check_entry(u, entry, err);

	if (r < 0 || is_root(archive_entry_pathname(entry)))
		return r;
	plain(entry);
	if (archive_write_header(u->out, entry) < ARCHIVE_WARN)
		return failed(u->out, err);
	if (archive_entry_size(entry) > 0)
		r = copy_content(u, err);
	if (r == 0 && archive_write_finish_entry(u->out) < ARCHIVE_WARN)
		r = failed(u->out, err);
	return r;
}

static int unpack_all(struct unpacking *u, struct error *err)
{
	struct archive_entry *entry;
	int r = 0, next = ARCHIVE_OK;

	while (r == 0) {
		next = archive_read_next_header(u->in, &entry);
		if (next == ARCHIVE_EOF)
			break;
		r = next < ARCHIVE_WARN ? failed(u->in, err) : unpack_entry(u, entry, err);
	}
	if (r == 0 && archive_write_close(u->out) < ARCHIVE_WARN)
		r = failed(u->out, err);
	return r;
}

int unpack(int archive, int dir, struct error *err)
{
	const struct jail_limits limits = { .file_size = UNPACK_BYTES_MAX,
					    .memory = MEMORY_LIMIT,
					    .cpu_seconds = CPU_SECONDS };
	cleanup_(release) struct unpacking u = { 0 };
	int r;

	(void)setlocale(LC_CTYPE, "C.UTF-8"); /* names are what they are */
	(void)umask(S_IWGRP | S_IWOTH);
	r = jail_enter(dir, &limits, err);
	if (r < 0)
		return r;
	open_out(&u);
	r = open_in(&u, archive, err);
	return r < 0 ? r : unpack_all(&u, err);
}
