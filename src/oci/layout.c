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
 * after fsync; the name of an unfinished one begins with LAYOUT_TEMPORARY, and its writer has it
 * locked, so that the next writer sweeps away what a killed one left. index.json is
 * replaced under a lock on the directory, by writers of ours: skopeo takes none.
 */

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
#include "oci/layout_dir.h"
#include "oci/layout_index.h"
#include "oci/name.h"
#include "oci/remote_ops.h"

enum { BUFFER = 256 * 1024, RANDOM_BYTES = 8 };

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
	int r = layout_read_small(layout->dir, "index.json", LAYOUT_INDEX_MAX, &text, err);

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
	fd = layout_open_file(layout->blobs, hex_of(reference), &entry->size, err);
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
	r = layout_read_small(layout->blobs, hex_of(name), MANIFEST_MAX, &text, err);
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
	fd = layout_open_file(layout->blobs, hex_of(digest), &size, err);
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
		(void)snprintf(name, size, LAYOUT_TEMPORARY "%s", random);
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
	char name[sizeof(LAYOUT_TEMPORARY) + 2 * RANDOM_BYTES];
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
	if (layout_open_dir(layout->path, write, &layout->dir, &layout->blobs, err) < 0) {
		int r = wrap(layout, err);

		layout_free(&layout->remote);
		return r;
	}
	*remote = &layout->remote;
	return 0;
}
