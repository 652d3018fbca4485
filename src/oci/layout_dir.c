/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layout_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/str.h"

enum { MARKER_MAX = 64 * 1024 };

static const char marker[] = "{\"imageLayoutVersion\": \"1.0.0\"}";

int layout_open_file(int dir, const char *name, uint64_t *size, struct error *err)
{
	auto_fd fd = fs_open(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, err);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read '%s'", name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, E_INVALID, "'%s' is not a regular file", name);
	*size = (uint64_t)st.st_size;
	return take_fd(&fd);
}

int layout_read_small(int dir, const char *name, size_t limit, struct str *out, struct error *err)
{
	uint64_t size = 0;
	auto_fd fd = layout_open_file(dir, name, &size, err);
	int r;

	if (fd < 0)
		return fd;
	if (size > limit)
		return error_set(err, E_TOO_BIG, "'%s' is larger than %zu bytes", name, limit);
	str_grow(out, (size_t)size);
	r = fs_pread_all(fd, out->ptr + out->len, (size_t)size, 0, err);
	if (r < 0)
		return r;
	str_set_len(out, out->len + (size_t)size);
	return 0;
}

static int check_marker(int dir, struct error *err)
{
	auto_str text = STR_INIT;
	auto_json *object = NULL;
	const char *version = NULL;
	int r = layout_read_small(dir, "oci-layout", MARKER_MAX, &text, err);

	if (r == -ENOENT)
		return error_set(err, E_INVALID, "this is no OCI image layout");
	if (r >= 0)
		r = json_parse_object(text.ptr, text.len, &object, err);
	if (r >= 0)
		r = json_get_string(object, "imageLayoutVersion", &version, err);
	if (r < 0)
		return error_wrap(err, "oci-layout");
	if (!version || strcmp(version, "1.0.0") != 0)
		return error_set(err, E_INVALID, "an image layout of an unknown version");
	return 0;
}

static void cleanup_dir_(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}
#define auto_dir cleanup_(cleanup_dir_) DIR

static DIR *list(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		(void)close(fd);
	return d;
}

static bool is_empty(int dir)
{
	auto_dir *d = list(dir);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return false;
	return d != NULL;
}

static int make_dir(int dir, const char *name, struct error *err)
{
	if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
		return error_errno(err, "cannot make '%s'", name);
	return 0;
}

static int open_dir(int dir, const char *name, struct error *err)
{
	return fs_open(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, err);
}

/* Return: the descriptor of blobs/sha256, or error. */
static int open_blobs(int dir, bool write, struct error *err)
{
	int r = write ? make_dir(dir, "blobs", err) : 0;
	auto_fd blobs = r < 0 ? r : open_dir(dir, "blobs", err);

	if (blobs < 0)
		return blobs;
	r = write ? make_dir(blobs, "sha256", err) : 0;
	return r < 0 ? r : open_dir(blobs, "sha256", err);
}

/* What killed writers left. */
static void sweep(int blobs)
{
	auto_dir *d = list(blobs);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		auto_fd fd = -1;

		if (!str_starts(e->d_name, LAYOUT_TEMPORARY))
			continue;
		fd = openat(blobs, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
		    lock_still_names(fd, blobs, e->d_name))
			(void)unlinkat(blobs, e->d_name, 0);
	}
}

/* The same of our two files, which are replaced under the lock that is held (fs_replace_file()). */
static void sweep_replaced(int dir)
{
	auto_dir *d = list(dir);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (str_ends(e->d_name, ".new") &&
		    (str_starts(e->d_name, "index.json.") || str_starts(e->d_name, "oci-layout.")))
			(void)unlinkat(dir, e->d_name, 0);
}

/* Make a layout of an empty directory; two that do so at once make the same. */
static int make_layout(int dir, struct error *err)
{
	auto_fd lock = lock_dir(dir, ".", LOCK_WAIT, err);
	struct stat st;

	if (lock < 0)
		return lock;
	sweep_replaced(dir);
	if (fstatat(dir, "oci-layout", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (!is_empty(dir))
		return error_set(err, E_FAILED,
				 "the directory is neither empty nor an OCI image "
				 "layout");
	return fs_replace_file(dir, "oci-layout", marker, strlen(marker), 0644, err);
}

int layout_open_dir(const char *path, bool write, int *dir, int *blobs, struct error *err)
{
	int r = write ? fs_mkdirs(path, err) : 0;
	auto_fd top = r < 0 ? r : fs_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, err);
	auto_fd below = -1;

	if (top < 0)
		return top;
	r = write ? make_layout(top, err) : 0;
	if (r >= 0)
		r = check_marker(top, err);
	if (r >= 0)
		r = below = open_blobs(top, write, err);
	if (r < 0)
		return r;
	if (write)
		sweep(below);
	*dir = take_fd(&top);
	*blobs = take_fd(&below);
	return 0;
}
