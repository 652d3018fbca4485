/* SPDX-License-Identifier: Apache-2.0 */
#include "archive/expand.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"

enum { BLOCK = 256 * 1024 };

static void free_reader(struct archive **archive)
{
	(void)archive_read_free(*archive);
}

static int failed(struct archive *archive, struct error *err)
{
	const char *why = archive_error_string(archive);

	return error_set(err, E_INVALID, "cannot decompress: %s", why ? why : "no reason given");
}

static int open_reader(struct archive *archive, int fd, struct error *err)
{
	struct archive_entry *entry;

	if (archive_read_support_format_raw(archive) < ARCHIVE_OK ||
	    archive_read_support_filter_gzip(archive) < ARCHIVE_OK ||
	    archive_read_support_filter_bzip2(archive) < ARCHIVE_OK ||
	    archive_read_support_filter_xz(archive) < ARCHIVE_OK ||
	    archive_read_support_filter_zstd(archive) < ARCHIVE_OK ||
	    archive_read_open_fd(archive, fd, BLOCK) < ARCHIVE_OK ||
	    archive_read_next_header(archive, &entry) < ARCHIVE_WARN)
		return failed(archive, err);
	return 0;
}

int expand(int from, int to, uint64_t limit, struct error *err)
{
	cleanup_(free_reader) struct archive *archive = archive_read_new();
	uint64_t size = 0;
	int r = open_reader(archive, from, err);

	while (r == 0) {
		const void *bytes;
		size_t len;
		la_int64_t offset;
		int next = archive_read_data_block(archive, &bytes, &len, &offset);

		if (next == ARCHIVE_EOF)
			break;
		if (next < ARCHIVE_OK)
			return failed(archive, err);
		if (len > limit - size)
			return error_set(err, E_TOO_BIG, "it has more than %" PRIu64 " bytes",
					 limit);
		r = fs_pwrite_sparse(to, bytes, len, (off_t)size, err);
		size += len;
	}
	if (r == 0 && ftruncate(to, (off_t)size) < 0)
		return error_errno(err, "cannot write");
	return r;
}
