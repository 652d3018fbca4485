/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sparse_file.h"

#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"

int sparse_file_write(struct sparse_file *file, const void *bytes, size_t len, struct error *err)
{
	int r = fs_pwrite_sparse(file->fd, bytes, len, (off_t)file->size, err);

	if (r == 0)
		file->size += len;
	return r;
}

int sparse_file_finish(struct sparse_file *file, struct error *err)
{
	if (ftruncate(file->fd, (off_t)file->size) < 0)
		return error_errno(err, "cannot resize");
	return 0;
}
