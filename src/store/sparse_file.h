/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_SPARSE_FILE_H
#define STORE_SPARSE_FILE_H

/* A new file written from its beginning to its end, in which pages of zeroes become holes. */

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

struct sparse_file {
	int fd; /* of an empty file; the caller's */
	uint64_t size; /* written so far */
};

int sparse_file_write(struct sparse_file *file, const void *bytes, size_t len,
		      struct error *err) must_use_;
/* Give the file its size. */
int sparse_file_finish(struct sparse_file *file, struct error *err) must_use_;

#endif
