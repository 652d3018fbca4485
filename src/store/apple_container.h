/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_APPLE_CONTAINER_H
#define STORE_APPLE_CONTAINER_H

/*
 * The outer form of Apple's archives, a stream of compressed blocks:
 *
 *   "pbze", length of a block (8 bytes)
 *   for each block: its length (8), its compressed length (8), data
 *
 * Numbers are big-endian. Data are LZFSE, or stored where both lengths are equal; all
 * blocks but the last have the length that the beginning says. "pbz-" is the same with stored
 * blocks only. (Facts from theapplewiki.com/wiki/Apple_Archive and contract 8.)
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/str.h"

struct error;

enum {
	CONTAINER_BLOCK = 4 * 1024 * 1024, /* what Apple's own tool makes, and we */
	CONTAINER_BLOCK_MAX = 64 * 1024 * 1024, /* what we read */
};

/* Where bytes come from. Return: how many (0: there are no more), or error. */
typedef ssize_t (*container_read_fn)(void *arg, void *bytes, size_t len, struct error *err);
/* Where bytes go to: all of them. */
typedef int (*container_write_fn)(void *arg, const void *bytes, size_t len, struct error *err);

struct container_reader;

/*
 * Begin to read a container, or an archive without one ("AA01" is the first that it
 * holds). E_INVALID: it is neither, or its compression is one that we do not know. At most two
 * blocks are held in memory.
 */
int container_reader_open(container_read_fn read, void *arg, struct container_reader **reader,
			  struct error *err) must_use_;
/*
 * *bytes: some of what follows, at least one byte; valid until the next call. They are not yet
 * consumed. Return: 1; 0 at the end of a whole container; or error.
 */
int container_reader_peek(struct container_reader *reader, struct slice *bytes,
			  struct error *err) must_use_;
/* Go on after the first @n of the bytes that peek gave. */
void container_reader_consume(struct container_reader *reader, size_t n);
struct container_reader *container_reader_free(struct container_reader *reader);
static inline void container_reader_free_(struct container_reader **reader)
{
	*reader = container_reader_free(*reader);
}
#define auto_container_reader cleanup_(container_reader_free_) struct container_reader

struct container_writer;

/* Begin a container of stored blocks; never fails and writes nothing yet. */
struct container_writer *container_writer_new(container_write_fn write, void *arg) must_use_;
/*
 * Room for the next bytes: *len, at least one, at *bytes, to be filled from the beginning and
 * then counted by container_writer_add().
 */
int container_writer_room(struct container_writer *writer, void **bytes, size_t *len,
			  struct error *err) must_use_;
void container_writer_add(struct container_writer *writer, size_t n);
int container_writer_write(struct container_writer *writer, const void *bytes, size_t len,
			   struct error *err) must_use_;
/* Write what is left. Nothing is to follow. */
int container_writer_finish(struct container_writer *writer, struct error *err) must_use_;
struct container_writer *container_writer_free(struct container_writer *writer);
static inline void container_writer_free_(struct container_writer **writer)
{
	*writer = container_writer_free(*writer);
}
#define auto_container_writer cleanup_(container_writer_free_) struct container_writer

#endif
