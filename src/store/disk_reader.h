/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_DISK_READER_H
#define STORE_DISK_READER_H

/*
 * The content of a stopped VM's disk as plain bytes, whatever chain of layers it is made of: what
 * push and export read. The qcow2 headers and tables were written by a QEMU that a guest may have
 * taken over: every offset is checked against the file before it is followed.
 *
 * Reading changes nothing in the reader: several threads may read at once.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct disk_reader;
struct error;
struct vm;

/* Open the chain of @vm, whose .lock the caller holds and which nobody runs. */
int disk_reader_open(const struct vm *vm, struct disk_reader **reader, struct error *err) must_use_;
struct disk_reader *disk_reader_free(struct disk_reader *reader);
#define auto_disk_reader cleanup_(disk_reader_free_) struct disk_reader
static inline void disk_reader_free_(struct disk_reader **reader)
{
	*reader = disk_reader_free(*reader);
}

/* Virtual bytes. */
uint64_t disk_reader_size(const struct disk_reader *reader);
/* @len bytes from @offset; both within the size. */
int disk_reader_read(const struct disk_reader *reader, void *bytes, size_t len, uint64_t offset,
		     struct error *err) must_use_;
/*
 * Make the empty file @to share all extents of the disk. Return: 1; 0 that cannot be, as it is more
 * than one raw file or the file system cannot (nothing was done); or error.
 */
int disk_reader_reflink(const struct disk_reader *reader, int to, struct error *err) must_use_;
/*
 * The next range at or after @offset that may hold something other than zeroes: [*start, *end).
 * Return: 1, 0 where only zeroes follow, or error.
 */
int disk_reader_next_data(const struct disk_reader *reader, uint64_t offset, uint64_t *start,
			  uint64_t *end, struct error *err) must_use_;

#endif
