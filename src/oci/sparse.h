/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_SPARSE_H
#define OCI_SPARSE_H

/*
 * Write plain bytes, given in order, into a range of a file: pages of zeroes stay holes, the others
 * are written from where they lie, as many at once as were given. On the way the bytes are hashed.
 *
 *   auto_sparse_writer w = SPARSE_WRITER_INIT;
 *   sparse_begin(&w, fd, offset, length, err);
 *   ... sparse_write(&w, bytes, n, err) ...
 *   sparse_end(&w, &digest, err);
 *
 * Several writers may work on ranges of one file that do not overlap.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "oci/hash.h"

struct error;

struct sparse_writer {
	int fd; /* borrowed */
	uint64_t offset; /* in the file: where the next byte goes */
	uint64_t end;
	bool dense; /* the file system cannot make holes: zeroes are written */
	struct hash hash;
};
#define SPARSE_WRITER_INIT \
	{                  \
		.fd = -1   \
	}

/*
 * Begin (anew) to write @length bytes from @offset. What the range held before reads as zeroes
 * from now on. The file's length is the caller's to set, before or after. Any byte may begin or end
 * a range; ranges that share a 4 KiB page are written one after the other.
 */
int sparse_begin(struct sparse_writer *w, int fd, uint64_t offset, uint64_t length,
		 struct error *err) must_use_;
/*
 * The next bytes; an apple_lz4_write_fn whose @writer is the struct sparse_writer. E_TOO_BIG where
 * they exceed the range (nothing of them is written), ENOSPC and others where writing fails.
 */
int sparse_write(void *writer, const uint8_t *bytes, size_t len, struct error *err) must_use_;
/* The digest of all bytes; E_INVALID where the range is not full. Nothing is fsynced. */
int sparse_end(struct sparse_writer *w, struct digest *digest, struct error *err) must_use_;
void sparse_release(struct sparse_writer *w);
#define auto_sparse_writer cleanup_(sparse_release) struct sparse_writer

#endif
