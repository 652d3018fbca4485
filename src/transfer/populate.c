/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/populate.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/sparse.h"
#include "store/cache.h"
#include "store/cache_pull.h"
#include "store/clone.h"
#include "store/disk_reader.h"
#include "store/network_copy.h"
#include "transfer/targets.h"

enum { COPY_PIECE = 1024 * 1024 };

static int copy_range(const struct disk_reader *disk, int to, uint64_t start, uint64_t end,
		      struct error *err)
{
	auto_free uint8_t *piece = xmalloc(COPY_PIECE);
	auto_sparse_writer writer = SPARSE_WRITER_INIT;
	int r = sparse_begin(&writer, to, start, end - start, err);

	while (start < end && r == 0) {
		size_t part = end - start < COPY_PIECE ? (size_t)(end - start) : COPY_PIECE;

		r = disk_reader_read(disk, piece, part, start, err);
		if (r == 0)
			r = sparse_write(&writer, piece, part, err);
		start += part;
	}
	return r;
}

static int copy_disk(const struct disk_reader *disk, int to, struct error *err)
{
	uint64_t start, end = 0;
	int r;

	if (ftruncate(to, (off_t)disk_reader_size(disk)) < 0)
		return error_errno(err, "cannot write disk.img");
	while ((r = disk_reader_next_data(disk, end, &start, &end, err)) > 0) {
		r = copy_range(disk, to, start, end, err);
		if (r < 0)
			return r;
	}
	return r;
}

static int put_disk(const struct populate *image, int dir, struct error *err)
{
	auto_fd to = fs_open(dir, "disk.img", O_RDWR | O_CREAT | O_EXCL, err);
	int r = to < 0 ? to : disk_reader_reflink(image->disk, to, err);

	if (r == 0)
		r = copy_disk(image->disk, to, err);
	return r < 0 ? r : 0;
}

static int fill(const struct populate *image, const struct cache_pull *pull, struct error *err)
{
	const struct vm to = { .path = pull->path, .dir = pull->dir };
	int r = fs_replace_file(to.dir, "config.json", image->config, image->config_len, 0600, err);

	if (r == 0)
		r = put_disk(image, to.dir, err);
	if (r == 0)
		r = clone_link_file(image->vm, &to, "nvram.bin", err);
	if (r == 0)
		r = clone_link_overlays(image->vm, &to, err);
	if (r == 0)
		r = network_copy_write(&to, image->network, err);
	return r < 0 ? r
		     : fs_replace_file(to.dir, "manifest.json", image->manifest,
				       image->manifest_len, 0600, err);
}

/* Empty: what somebody else began with is not gone on with. */
static int open_empty(const struct home *home, const struct digest *digest, struct cache_pull *pull,
		      struct error *err)
{
	int r = cache_pull_open(home, digest, NULL, pull, err);

	while (r > 0) {
		cache_pull_discard(pull);
		r = cache_pull_open(home, digest, NULL, pull, err);
	}
	return r;
}

/* With its lock, without which the image would be gone before it has a tag. */
static int publish(const struct home *home, const struct target *target,
		   const struct digest *digest, const struct cache_pull *pull, struct error *err)
{
	char text[DIGEST_TEXT];
	auto_oci_name name = OCI_NAME_INIT;
	int r;

	digest_format(digest, text);
	oci_name_with_digest(&target->names.items[0], text, &name);
	r = cache_publish(home, &name, digest, pull->path, err);
	for (size_t i = 0; i < target->names.len && r == 0; i++)
		r = cache_link(home, &target->names.items[i], digest, err);
	return r;
}

int populate_cache(const struct home *home, const struct target *target,
		   const struct populate *image, struct error *err)
{
	auto_cache_pull pull = CACHE_PULL_INIT;
	int r = open_empty(home, &image->digest, &pull, err);

	if (r == 0)
		r = fill(image, &pull, err);
	if (r < 0) {
		cache_pull_discard(&pull);
		return r;
	}
	return publish(home, target, &image->digest, &pull, err);
}
