/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/sparse.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"

/* Does the range hold anything but holes? Where nobody can say, it does. */
static bool holds_data(int fd, uint64_t start, uint64_t end)
{
	off_t data = lseek(fd, (off_t)start, SEEK_DATA);

	return data < 0 ? errno != ENXIO : (uint64_t)data < end;
}

int sparse_begin(struct sparse_writer *w, int fd, uint64_t offset, uint64_t length,
		 struct error *err)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, length, &end) || end > INT64_MAX)
		return error_set(err, E_TOO_BIG, "%" PRIu64 " bytes at %" PRIu64 " of a file",
				 length, offset);
	w->fd = fd;
	w->offset = offset;
	w->end = end;
	w->dense = false;
	if (length && holds_data(fd, offset, end) &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		      (off_t)length) < 0) {
		if (errno != EOPNOTSUPP)
			return error_errno(err, "cannot write the disk");
		w->dense = true;
	}
	hash_begin(&w->hash);
	return 0;
}

int sparse_write(void *writer, const uint8_t *bytes, size_t len, struct error *err)
{
	struct sparse_writer *w = writer;
	int r;

	if (len > w->end - w->offset)
		return error_set(err, E_TOO_BIG, "more bytes than were announced");
	hash_add(&w->hash, bytes, len);
	r = w->dense ? fs_pwrite_all(w->fd, bytes, len, (off_t)w->offset, err)
		     : fs_pwrite_sparse(w->fd, bytes, len, (off_t)w->offset, err);
	if (r < 0)
		return error_wrap(err, "the disk");
	w->offset += len;
	return 0;
}

int sparse_end(struct sparse_writer *w, struct digest *digest, struct error *err)
{
	if (w->offset != w->end)
		return error_set(err, E_INVALID, "%" PRIu64 " bytes fewer than were announced",
				 w->end - w->offset);
	hash_end(&w->hash, digest);
	return 0;
}

void sparse_release(struct sparse_writer *w)
{
	hash_release(&w->hash);
	*w = (struct sparse_writer)SPARSE_WRITER_INIT;
}
