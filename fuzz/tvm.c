/* SPDX-License-Identifier: Apache-2.0 */

/* An archive: its container, its entries and what they hold. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "store/apple_archive.h"
#include "store/apple_container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	ENTRIES = 64,
	CONTENT = 16 * 1024 * 1024, /* bytes of all entries that are looked at: it shall be quick */
};

static ssize_t give(void *arg, void *bytes, size_t len, struct error *err)
{
	struct slice *rest = arg;
	size_t n = rest->len < len ? rest->len : len;

	(void)err;
	if (n)
		memcpy(bytes, rest->ptr, n);
	*rest = (struct slice){ rest->ptr + n, rest->len - n };
	return (ssize_t)n;
}

static int count(void *arg, const void *bytes, size_t len, struct error *err)
{
	uint64_t *left = arg;

	(void)bytes;
	if (len > *left)
		return error_set(err, E_TOO_BIG, "enough");
	*left -= len;
	return 0;
}

/* A header that we write of what was read says the same. */
static void check_entry(const struct apple_entry *entry)
{
	const struct apple_attributes attributes = { .uid = (uint32_t)entry->size,
						     .gid = entry->type,
						     .mode = 0644 };
	auto_str header = STR_INIT;
	struct apple_entry again;
	struct error err = ERROR_INIT;
	bool directory = entry->type == 'D';

	if (directory)
		apple_entry_add_directory(&header, entry->path, &attributes);
	else
		apple_entry_add_file(&header, entry->path, &attributes, entry->size);
	assert(apple_entry_parse((struct slice){ (const uint8_t *)header.ptr, header.len }, &again,
				 &err) == 0);
	assert(again.type == (directory ? 'D' : 'F') && strcmp(again.path, entry->path) == 0);
	assert(again.size == (directory ? 0 : entry->size) && !again.before && !again.after);
}

/* Return: 1, 0 at the end, or error. */
static int walk(struct container_reader *reader, uint64_t *left, struct error *err)
{
	struct apple_entry entry;
	int r = apple_entry_read(reader, &entry, err);

	if (r <= 0)
		return r;
	assert(strlen(entry.path) <= APPLE_PATH_MAX);
	check_entry(&entry);
	r = apple_content(reader, entry.before, count, left, err);
	if (r == 0)
		r = apple_content(reader, entry.size, count, left, err);
	if (r == 0)
		r = apple_content(reader, entry.after, count, left, err);
	return r < 0 ? r : 1;
}

static int keep(void *arg, const void *bytes, size_t len, struct error *err)
{
	(void)err;
	str_add(arg, bytes, len);
	return 0;
}

static void write_container(struct slice in, struct str *out)
{
	auto_container_writer *writer = container_writer_new(keep, out);
	struct error err = ERROR_INIT;

	assert(container_writer_write(writer, in.ptr, in.len, &err) == 0);
	assert(container_writer_finish(writer, &err) == 0);
}

/* What we write of any bytes is read as just these. */
static void check_round_trip(struct slice in)
{
	auto_container_reader *reader = NULL;
	auto_str written = STR_INIT;
	auto_str read = STR_INIT;
	struct slice rest;
	struct slice piece;
	struct error err = ERROR_INIT;

	write_container(in, &written);
	rest = (struct slice){ (const uint8_t *)written.ptr, written.len };
	assert(container_reader_open(give, &rest, &reader, &err) == 0);
	while (container_reader_peek(reader, &piece, &err) == 1) {
		str_add(&read, piece.ptr, piece.len);
		container_reader_consume(reader, piece.len);
	}
	assert(err.code == 0 && read.len == in.len);
	assert(!in.len || memcmp(read.ptr, in.ptr, in.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_container_reader *reader = NULL;
	struct slice rest = { data, size };
	struct error err = ERROR_INIT;
	uint64_t left = CONTENT;
	int r = container_reader_open(give, &rest, &reader, &err);

	for (unsigned i = 0; r >= 0 && i < ENTRIES; i++) {
		r = walk(reader, &left, &err);
		if (r == 0)
			break;
	}
	if (r < 0)
		assert((err.code == E_INVALID || err.code == E_TOO_BIG) && err.text[0]);
	if (size < 256)
		check_round_trip((struct slice){ data, size });
	return 0;
}
