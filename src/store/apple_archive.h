/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_APPLE_ARCHIVE_H
#define STORE_APPLE_ARCHIVE_H

/*
 * The entries of Apple's archives, which follow one another in a container:
 *
 *   "AA01", length of the header (2 bytes, all of it), fields, the content of the blobs
 *
 * A field is three letters, a letter that tells its form, and a value; numbers are little-endian:
 *
 *   *                 nothing
 *   1 2 4 8           a number of so many bytes
 *   F G H I J         a hash of 4, 20, 32, 48, 64 bytes
 *   S T               a time: seconds in 8 bytes, with T nanoseconds in 4 more
 *   P                 a text: its length in 2 bytes, its bytes
 *   A B C             a blob: its length in 2, 4, 8 bytes; its bytes follow the header, in the
 *                     order of the fields
 *
 * We read TYP (number: 'F' file, 'D' directory, 'L' link ...), PAT (text: path), DAT (blob:
 * content). (Facts from theapplewiki.com/wiki/Apple_Archive, docs/NeoAAFieldType.md of
 * github.com/0xilis/libNeoAppleArchive, and contract 8.)
 */

#include <stdint.h>
#include <time.h>

#include "base/attr.h"
#include "base/str.h"

struct container_reader;
struct error;

enum {
	APPLE_PREFIX = 6, /* magic and length */
	APPLE_PATH_MAX = 1023,
};

struct apple_entry {
	uint8_t type; /* 'F' ... */
	char path[APPLE_PATH_MAX + 1]; /* "": none, or the archive's root */
	uint64_t before, size, after; /* bytes of the blobs before DAT, of DAT, of those after it */
};

/* Parse a whole header, from its magic on. */
int apple_entry_parse(struct slice header, struct apple_entry *entry, struct error *err) must_use_;

/* What an entry says of a file beside its content. */
struct apple_attributes {
	uint32_t uid, gid;
	uint16_t mode; /* permissions */
	struct timespec modified, created, changed;
};
/* Append the header of the file (directory) @path; the @size bytes of a file are to follow. */
void apple_entry_add_file(struct str *out, const char *path,
			  const struct apple_attributes *attributes, uint64_t size);
void apple_entry_add_directory(struct str *out, const char *path,
			       const struct apple_attributes *attributes);

/*
 * Read the next header out of @reader. Return: 1 the content of its blobs follows; 0 the
 * container has ended; E_INVALID something else follows.
 */
int apple_entry_read(struct container_reader *reader, struct apple_entry *entry,
		     struct error *err) must_use_;

/*
 * Let @take (which may be NULL) have the next @n bytes in pieces. E_INVALID: there are not so many.
 */
typedef int (*apple_take_fn)(void *arg, const void *bytes, size_t len, struct error *err);
int apple_content(struct container_reader *reader, uint64_t n, apple_take_fn take_bytes, void *arg,
		  struct error *err) must_use_;

#endif
