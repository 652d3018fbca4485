/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sparse_file.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"

enum { PAGE = 4096 };

static bool is_zero(const uint8_t *bytes, size_t len)
{
	static const uint8_t zeroes[PAGE];

	return memcmp(bytes, zeroes, len) == 0;
}

/* How many of @len bytes to be written at @offset are in its page? */
static size_t in_page(uint64_t offset, size_t len)
{
	size_t left = PAGE - (size_t)(offset % PAGE);

	return left < len ? left : len;
}

/* How many bytes from the beginning are parts of pages that hold zeroes only (@zero), or not? */
static size_t run(const uint8_t *bytes, size_t len, uint64_t offset, bool zero)
{
	size_t n = 0;

	while (n < len) {
		size_t part = in_page(offset + n, len - n);

		if (is_zero(bytes + n, part) != zero)
			break;
		n += part;
	}
	return n;
}

int sparse_file_write(struct sparse_file *file, const void *bytes, size_t len, struct error *err)
{
	const uint8_t *p = bytes;

	while (len) {
		size_t skipped = run(p, len, file->size, true);
		size_t written = run(p + skipped, len - skipped, file->size + skipped, false);
		int r = fs_pwrite_all(file->fd, p + skipped, written, (off_t)(file->size + skipped),
				      err);

		if (r < 0)
			return r;
		file->size += skipped + written;
		p += skipped + written;
		len -= skipped + written;
	}
	return 0;
}

int sparse_file_finish(struct sparse_file *file, struct error *err)
{
	if (ftruncate(file->fd, (off_t)file->size) < 0)
		return error_errno(err, "cannot resize");
	return 0;
}
