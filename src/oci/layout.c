/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * An image layout (OCI image-spec, image-layout.md) is a directory:
 *
 *   oci-layout                which version it is
 *   index.json                the manifests and their names
 *   blobs/sha256/HEX          manifests, configs and layers
 *
 * It may come from somebody else, so nothing in it is a link that we follow, and every byte
 * is verified while it is read. A blob is written beside its place and gets there by rename
 * after fsync; the name of an unfinished one begins with TEMPORARY, and its writer has it
 * locked, so that the next writer sweeps away what a killed one left. index.json is
 * replaced under a lock on the directory, by writers of ours: skopeo takes none.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/hash.h"
#include "oci/layout_index.h"
#include "oci/name.h"
#include "oci/remote_ops.h"

#define TEMPORARY ".linzer-"

enum { BUFFER = 256 * 1024, MARKER_MAX = 64 * 1024, RANDOM_BYTES = 8 };

static const char marker[] = "{\"imageLayoutVersion\": \"1.0.0\"}";

struct layout {
	struct remote remote;
	char *path;
	int dir, blobs; /* the directory itself, blobs/sha256 in it */
	bool (*cancelled)(void *arg);
	void *arg;
};

static void layout_free(struct remote *remote)
{
	struct layout *layout = (struct layout *)remote;

	if (layout->dir >= 0)
		(void)close(layout->dir);
	if (layout->blobs >= 0)
		(void)close(layout->blobs);
	free(layout->path);
	free(layout);
}

/* Open a regular file, never through a link. */
static int open_file(int dir, const char *name, uint64_t *size, struct error *err)
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

static int read_small(int dir, const char *name, size_t limit, struct str *out, struct error *err)
{
	uint64_t size = 0;
	auto_fd fd = open_file(dir, name, &size, err);
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

static int wrap(const struct layout *layout, struct error *err)
{
	return error_wrap(err, "oci:%.200s", layout->path);
}

static const char *hex_of(const char digest[DIGEST_TEXT])
{
	return digest + strlen("sha256:");
}

static int read_index(const struct layout *layout, json_t **index, struct error *err)
{
	auto_str text = STR_INIT;
	int r = read_small(layout->dir, "index.json", LAYOUT_INDEX_MAX, &text, err);

	return r < 0 ? r : layout_index_parse(text.ptr, text.len, index, err);
}

static int check_digest(const char *wanted, const struct digest *found, struct error *err)
{
	char text[DIGEST_TEXT];

	digest_format(found, text);
	if (strcmp(text, wanted) == 0)
		return 0;
	return error_set(err, E_INVALID, "the digest of blob %s is %s", wanted, text);
}

/* The entry of the index; of a digest that is not in it, what the file itself has. */
static int find_entry(const struct layout *layout, const char *reference,
		      struct layout_entry *entry, struct error *err)
{
	auto_json *index = NULL;
	auto_fd fd = -1;
	int r = read_index(layout, &index, err);

	if (r >= 0)
		r = layout_index_find(index, reference, entry, err);
	if (r < 0)
		return r;
	if (r > 0)
		return 0;
	if (digest_parse(reference, &entry->digest) < 0)
		return error_set(err, E_FAILED, "there is no manifest called '%s'", reference);
	fd = open_file(layout->blobs, hex_of(reference), &entry->size, err);
	return fd < 0 ? error_set(err, E_FAILED, "there is no manifest %s", reference) : 0;
}

static int get_manifest(const struct layout *layout, const char *reference, struct str *out,
			struct digest *digest, struct error *err)
{
	struct layout_entry entry = { 0 };
	struct digest found;
	auto_str text = STR_INIT;
	char name[DIGEST_TEXT];
	int r = find_entry(layout, reference, &entry, err);

	if (r < 0)
		return r;
	digest_format(&entry.digest, name);
	r = read_small(layout->blobs, hex_of(name), MANIFEST_MAX, &text, err);
	if (r < 0)
		return r;
	if (text.len != entry.size)
		return error_set(err, E_INVALID, "manifest %s has %zu bytes instead of %llu", name,
				 text.len, (unsigned long long)entry.size);
	hash_bytes(text.ptr, text.len, &found);
	r = check_digest(name, &found, err);
	if (r < 0)
		return r;
	str_add(out, text.ptr, text.len);
	*digest = found;
	return 0;
}

static int layout_get_manifest(struct remote *remote, const char *reference, struct str *out,
			       struct digest *digest, struct error *err)
{
	struct layout *layout = (struct layout *)remote;

	return get_manifest(layout, reference, out, digest, err) < 0 ? wrap(layout, err) : 0;
}

static int is_cancelled(const struct layout *layout, struct error *err)
{
	if (layout->cancelled && layout->cancelled(layout->arg))
		return error_set(err, E_CANCELLED, "cancelled");
	return 0;
}

/* Where the bytes of a blob come from: memory or a file. */
static int read_piece(const void *bytes, int fd, void *buffer, size_t len, uint64_t offset,
		      struct error *err)
{
	if (!bytes)
		return fs_pread_all(fd, buffer, len, (off_t)offset, err);
	memcpy(buffer, (const char *)bytes + offset, len);
	return 0;
}

/* All of a blob, from memory or a file, to write(), verified. */
static int pass_on(const struct layout *layout, const struct blob *blob, const void *bytes, int fd,
		   remote_write_fn write, void *arg, struct error *err)
{
	auto_free char *buffer = xmalloc(BUFFER);
	auto_hash hash = HASH_INIT;
	struct digest found;
	char digest[DIGEST_TEXT];

	digest_format(&blob->digest, digest);
	hash_begin(&hash);
	for (uint64_t done = 0; done < blob->size;) {
		size_t len = blob->size - done < BUFFER ? (size_t)(blob->size - done) : BUFFER;
		int r = is_cancelled(layout, err);

		if (r >= 0)
			r = read_piece(bytes, fd, buffer, len, done, err);
		if (r < 0)
			return r;
		hash_add(&hash, buffer, len);
		r = write(arg, buffer, len, err);
		if (r < 0)
			return r;
		done += len;
	}
	hash_end(&hash, &found);
	return check_digest(digest, &found, err);
}

static int get_blob(const struct layout *layout, const struct blob *blob, remote_write_fn write,
		    void *arg, struct error *err)
{
	char digest[DIGEST_TEXT];
	uint64_t size = 0;
	auto_fd fd = -1;

	digest_format(&blob->digest, digest);
	fd = open_file(layout->blobs, hex_of(digest), &size, err);
	if (fd < 0)
		return fd;
	if (size != blob->size)
		return error_set(err, E_INVALID, "blob %s has %llu bytes instead of %llu", digest,
				 (unsigned long long)size, (unsigned long long)blob->size);
	return pass_on(layout, blob, NULL, fd, write, arg, err);
}

static int layout_get_blob(struct remote *remote, const struct blob *blob, remote_write_fn write,
			   void *arg, struct error *err)
{
	struct layout *layout = (struct layout *)remote;

	return get_blob(layout, blob, write, arg, err) < 0 ? wrap(layout, err) : 0;
}

static int layout_has_blob(struct remote *remote, const struct blob *blob, struct error *err)
{
	const struct layout *layout = (struct layout *)remote;
	char digest[DIGEST_TEXT];
	struct stat st;

	digest_format(&blob->digest, digest);
	if (fstatat(layout->blobs, hex_of(digest), &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return 0;
		(void)error_errno(err, "cannot look for blob %s", digest);
		return wrap(layout, err);
	}
	return S_ISREG(st.st_mode) && (uint64_t)st.st_size == blob->size;
}

static int layout_mount_blob(struct remote *remote, const struct blob *blob,
			     const struct oci_name *from, struct error *err)
{
	(void)remote;
	(void)blob;
	(void)from;
	(void)err;
	return 0;
}

static int write_to_file(void *arg, const void *bytes, size_t len, struct error *err)
{
	return fs_write_all(*(const int *)arg, bytes, len, err);
}

/* A new file that a sweeper lets be. Return: the descriptor, or error. */
static int make_temporary(const struct layout *layout, char *name, size_t size, struct error *err)
{
	char random[2 * RANDOM_BYTES + 1];

	for (;;) {
		auto_fd fd = -1;

		fs_random_hex(random, RANDOM_BYTES);
		(void)snprintf(name, size, TEMPORARY "%s", random);
		fd = openat(layout->blobs, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0)
			return error_errno(err, "cannot make '%s'", name);
		if (flock(fd, LOCK_EX) < 0)
			return error_errno(err, "cannot lock '%s'", name);
		if (lock_still_names(fd, layout->blobs, name)) /* else a sweeper was quicker */
			return take_fd(&fd);
	}
}

static int fill(const struct layout *layout, const struct blob *blob, const void *bytes, int from,
		int to, struct error *err)
{
	int r = pass_on(layout, blob, bytes, from, write_to_file, &to, err);

	if (r >= 0 && fsync(to) < 0)
		r = error_errno(err, "cannot write a blob");
	return r;
}

static int put_blob(const struct layout *layout, const struct blob *blob, const void *bytes,
		    int from, struct error *err)
{
	char name[sizeof(TEMPORARY) + 2 * RANDOM_BYTES];
	char digest[DIGEST_TEXT];
	auto_fd fd = make_temporary(layout, name, sizeof(name), err);
	int r;

	if (fd < 0)
		return fd;
	digest_format(&blob->digest, digest);
	r = fill(layout, blob, bytes, from, fd, err);
	if (r >= 0 && renameat(layout->blobs, name, layout->blobs, hex_of(digest)) < 0)
		r = error_errno(err, "cannot put blob %s in place", digest);
	if (r < 0)
		(void)unlinkat(layout->blobs, name, 0);
	return r < 0 ? r : 0;
}

static int layout_put_blob(struct remote *remote, const struct blob *blob, const void *bytes,
			   int fd, struct error *err)
{
	struct layout *layout = (struct layout *)remote;

	return put_blob(layout, blob, bytes, fd, err) < 0 ? wrap(layout, err) : 0;
}

static int put_manifest(const struct layout *layout, const char *reference, const char *media_type,
			const void *bytes, size_t len, struct error *err)
{
	struct blob blob = { .size = len };
	auto_json *index = NULL, *written = NULL;
	auto_str text = STR_INIT;
	auto_fd lock = -1;
	int r;

	hash_bytes(bytes, len, &blob.digest);
	r = put_blob(layout, &blob, bytes, -1, err);
	if (r >= 0)
		r = fs_sync_dir(layout->blobs, ".", err); /* of all blobs before it, too */
	if (r < 0)
		return r;
	lock = lock_dir(layout->dir, ".", LOCK_WAIT, err);
	if (lock < 0)
		return lock;
	r = read_index(layout, &index, err);
	if (r == -ENOENT)
		index = layout_index_new();
	else if (r < 0)
		return r;
	layout_index_set(index, reference, media_type,
			 &(struct layout_entry){ .digest = blob.digest, .size = len });
	json_add_compact(&text, index);
	/* one too many would take all the others with it */
	r = layout_index_parse(text.ptr, text.len, &written, err);
	return r < 0 ? r
		     : fs_replace_file(layout->dir, "index.json", text.ptr, text.len, 0644, err);
}

static int layout_put_manifest(struct remote *remote, const char *reference, const char *media_type,
			       const void *bytes, size_t len, struct error *err)
{
	struct layout *layout = (struct layout *)remote;

	return put_manifest(layout, reference, media_type, bytes, len, err) < 0 ? wrap(layout, err)
										: 0;
}

static int check_marker(const struct layout *layout, struct error *err)
{
	auto_str text = STR_INIT;
	auto_json *object = NULL;
	const char *version = NULL;
	int r = read_small(layout->dir, "oci-layout", MARKER_MAX, &text, err);

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

static int open_blobs(struct layout *layout, bool write, struct error *err)
{
	int r = write ? make_dir(layout->dir, "blobs", err) : 0;
	auto_fd blobs = r < 0 ? r : open_dir(layout->dir, "blobs", err);

	if (blobs < 0)
		return blobs;
	r = write ? make_dir(blobs, "sha256", err) : 0;
	if (r < 0)
		return r;
	layout->blobs = open_dir(blobs, "sha256", err);
	return layout->blobs < 0 ? layout->blobs : 0;
}

/* What killed writers left. */
static void sweep(const struct layout *layout)
{
	auto_dir *d = list(layout->blobs);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		auto_fd fd = -1;

		if (!str_starts(e->d_name, TEMPORARY))
			continue;
		fd = openat(layout->blobs, e->d_name,
			    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
		    lock_still_names(fd, layout->blobs, e->d_name))
			(void)unlinkat(layout->blobs, e->d_name, 0);
	}
}

/* The same of our two files, which are replaced under the lock that is held (fs_replace_file()). */
static void sweep_replaced(const struct layout *layout)
{
	auto_dir *d = list(layout->dir);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (str_ends(e->d_name, ".new") &&
		    (str_starts(e->d_name, "index.json.") || str_starts(e->d_name, "oci-layout.")))
			(void)unlinkat(layout->dir, e->d_name, 0);
}

/* Make a layout of an empty directory; two that do so at once make the same. */
static int make_layout(struct layout *layout, struct error *err)
{
	auto_fd lock = lock_dir(layout->dir, ".", LOCK_WAIT, err);
	struct stat st;

	if (lock < 0)
		return lock;
	sweep_replaced(layout);
	if (fstatat(layout->dir, "oci-layout", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (!is_empty(layout->dir))
		return error_set(err, E_FAILED,
				 "the directory is neither empty nor an OCI image "
				 "layout");
	return fs_replace_file(layout->dir, "oci-layout", marker, strlen(marker), 0644, err);
}

static int open_layout(struct layout *layout, bool write, struct error *err)
{
	int r = write ? fs_mkdirs(layout->path, err) : 0;

	if (r < 0)
		return r;
	layout->dir = fs_open(AT_FDCWD, layout->path, O_RDONLY | O_DIRECTORY, err);
	if (layout->dir < 0)
		return layout->dir;
	r = write ? make_layout(layout, err) : 0;
	if (r >= 0)
		r = check_marker(layout, err);
	if (r >= 0)
		r = open_blobs(layout, write, err);
	if (r >= 0 && write)
		sweep(layout);
	return r;
}

static void layout_add_place(const struct remote *remote, const char *kind, const char *reference,
			     struct str *out)
{
	const struct layout *layout = (const struct layout *)remote;

	if (str_starts(reference, "sha256:"))
		str_addf(out, "%s/blobs/sha256/%s", layout->path, reference + strlen("sha256:"));
	else
		str_addf(out, "%s/index.json: %s of '%s'", layout->path, kind, reference);
}

int layout_open(const struct oci_name *name, const struct remote_options *options, bool write,
		struct remote **remote, struct error *err)
{
	static const struct remote_ops ops = {
		.free = layout_free,
		.get_manifest = layout_get_manifest,
		.get_blob = layout_get_blob,
		.has_blob = layout_has_blob,
		.mount_blob = layout_mount_blob,
		.put_blob = layout_put_blob,
		.put_manifest = layout_put_manifest,
		.add_place = layout_add_place,
	};
	struct layout *layout = xcalloc(1, sizeof(*layout));

	layout->remote.ops = &ops;
	layout->path = xstrdup(name->repository);
	layout->dir = layout->blobs = -1;
	layout->cancelled = options->cancelled;
	layout->arg = options->arg;
	if (open_layout(layout, write, err) < 0) {
		int r = wrap(layout, err);

		layout_free(&layout->remote);
		return r;
	}
	*remote = &layout->remote;
	return 0;
}
