/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/populate.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/sparse.h"
#include "store/cache.h"
#include "store/cache_pull.h"
#include "store/disk.h"
#include "store/disk_reader.h"

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

/* A raw disk is shared where the file system can. Return: 1 done, 0 it cannot, or error. */
static int share_disk(const struct populate *image, int to, struct error *err)
{
	struct error ignored = ERROR_INIT;
	struct disk_chain chain;
	auto_fd from = -1;

	if (disk_peek(image->vm, &chain, &ignored) < 0 || chain.count != 1 || chain.layers[0].qcow2)
		return 0;
	from = disk_open_file(image->vm, "disk.img", O_RDONLY, &ignored);
	return from < 0 ? 0 : fs_reflink(from, to, err);
}

static int put_disk(const struct populate *image, int dir, struct error *err)
{
	auto_fd to = fs_open(dir, "disk.img", O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, err);
	int r = to < 0 ? to : share_disk(image, to, err);

	if (r == 0)
		r = copy_disk(image->disk, to, err);
	if (r < 0)
		return r;
	if (fchmod(to, 0400) < 0 || fsync(to) < 0)
		return error_errno(err, "cannot write disk.img");
	return 0;
}

static int put_nvram(const struct populate *image, int dir, struct error *err)
{
	auto_fd from = disk_open_file(image->vm, "nvram.bin", O_RDONLY, err);
	auto_fd to = -1;

	if (from < 0)
		return from;
	to = fs_open(dir, "nvram.bin", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, err);
	return to < 0 ? to : fs_copy_sparse(from, to, err);
}

static int fill(const struct populate *image, int dir, struct error *err)
{
	int r = fs_replace_file(dir, "config.json", image->config, image->config_len, 0600, err);

	if (r == 0)
		r = put_disk(image, dir, err);
	if (r == 0)
		r = put_nvram(image, dir, err);
	return r < 0 ? r
		     : fs_replace_file(dir, "manifest.json", image->manifest, image->manifest_len,
				       0600, err);
}

int populate_cache(const struct home *home, const struct oci_name *name,
		   const struct populate *image, struct error *err)
{
	auto_cache_pull dir = CACHE_PULL_INIT;
	int r = cache_pull_open(home, &image->digest, NULL, &dir, err);

	if (r >= 0)
		r = fill(image, dir.dir, err);
	if (r == 0)
		r = cache_publish(home, name, &image->digest, dir.path, err);
	if (r < 0)
		cache_pull_discard(&dir);
	return r;
}
