/* SPDX-License-Identifier: Apache-2.0 */
#include "store/apple_container.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "store/lzfse.h"

enum {
	MAGIC = 4,
	HEADER = 16, /* of a block */
	BARE_READ = 1024 * 1024, /* of an archive without container, at once */
};

struct container_reader {
	container_read_fn read;
	void *arg;
	bool bare; /* no container: what comes is what is given */
	bool stored_only;
	bool ended;
	size_t block; /* bytes that a block has at most */
	uint8_t *packed; /* of .block bytes, when first needed */
	uint8_t *bytes; /* of .block bytes */
	size_t start, len; /* what of .bytes is yet to be consumed */
};

static int truncated(struct error *err)
{
	return error_set(err, E_INVALID, "the archive is truncated");
}

/* Return: how many of @len there were; fewer only at the end; or error. */
static ssize_t read_up_to(struct container_reader *reader, void *bytes, size_t len,
			  struct error *err)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = reader->read(reader->arg, (uint8_t *)bytes + got, len - got, err);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

static int read_all(struct container_reader *reader, void *bytes, size_t len, struct error *err)
{
	ssize_t n = read_up_to(reader, bytes, len, err);

	if (n < 0)
		return (int)n;
	return (size_t)n < len ? truncated(err) : 0;
}

static uint64_t be64_at(const uint8_t *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return be64toh(value);
}

/* What else Apple's tool makes, told by the letter in the place of LZFSE's 'e'. */
static int refuse(const uint8_t magic[MAGIC], struct error *err)
{
	static const struct {
		const char *magic, *name;
	} others[] = {
		{ "pbz4", "LZ4" },	{ "pbzz", "zlib" }, { "pbzx", "LZMA" },
		{ "pbzb", "LZBITMAP" }, { "pbzf", "LZVN" },
	};

	for (size_t i = 0; i < array_size(others); i++)
		if (memcmp(magic, others[i].magic, MAGIC) == 0)
			return error_set(
				err, E_INVALID,
				"the archive is compressed with %s, which is not supported",
				others[i].name);
	if (memcmp(magic, "AEA1", MAGIC) == 0)
		return error_set(err, E_INVALID,
				 "the archive is encrypted, which is not supported");
	return error_set(err, E_INVALID, "not an archive of a VM");
}

static int open_bare(struct container_reader *reader, const uint8_t magic[MAGIC])
{
	reader->bare = true;
	reader->block = BARE_READ;
	reader->bytes = xmalloc(BARE_READ);
	memcpy(reader->bytes, magic, MAGIC);
	reader->len = MAGIC;
	return 0;
}

static int open_blocks(struct container_reader *reader, struct error *err)
{
	uint8_t bytes[8];
	uint64_t block;
	int r = read_all(reader, bytes, sizeof(bytes), err);

	if (r < 0)
		return r;
	block = be64_at(bytes);
	if (block < 1 || block > CONTAINER_BLOCK_MAX)
		return error_set(err, E_TOO_BIG,
				 "the archive has blocks of %llu bytes: 1 to %d can be read",
				 (unsigned long long)block, CONTAINER_BLOCK_MAX);
	reader->block = (size_t)block;
	reader->bytes = xmalloc(reader->block);
	return 0;
}

static int open_any(struct container_reader *reader, struct error *err)
{
	uint8_t magic[MAGIC] = { 0 };
	ssize_t n = read_up_to(reader, magic, sizeof(magic), err);

	if (n < 0)
		return (int)n;
	if (n == 0)
		return error_set(err, E_INVALID, "the archive is empty");
	if (memcmp(magic, "AA01", MAGIC) == 0)
		return open_bare(reader, magic);
	reader->stored_only = memcmp(magic, "pbz-", MAGIC) == 0;
	if (!reader->stored_only && memcmp(magic, "pbze", MAGIC) != 0)
		return refuse(magic, err);
	return open_blocks(reader, err);
}

int container_reader_open(container_read_fn read, void *arg, struct container_reader **reader,
			  struct error *err)
{
	auto_container_reader *opened = xcalloc(1, sizeof(*opened));
	int r;

	opened->read = read;
	opened->arg = arg;
	r = open_any(opened, err);
	if (r == 0)
		*reader = take(opened);
	return r;
}

/* Nothing but the end may come after a block without content, which some writers put there. */
static int end(struct container_reader *reader, struct error *err)
{
	uint8_t byte;
	ssize_t n = read_up_to(reader, &byte, sizeof(byte), err);

	if (n < 0)
		return (int)n;
	if (n > 0)
		return error_set(err, E_INVALID, "the archive goes on after its end");
	reader->ended = true;
	return 0;
}

static int read_packed(struct container_reader *reader, size_t len, size_t packed,
		       struct error *err)
{
	int r;

	if (!reader->packed)
		reader->packed = xmalloc(reader->block);
	r = read_all(reader, reader->packed, packed, err);
	if (r == 0)
		r = lzfse_decode((struct slice){ reader->packed, packed }, reader->bytes, len, err);
	return r;
}

static int read_block(struct container_reader *reader, uint64_t len, uint64_t packed,
		      struct error *err)
{
	int r;

	if (len > reader->block || packed > len || !len || !packed ||
	    (reader->stored_only && packed != len))
		return error_set(err, E_INVALID,
				 "the archive is damaged: a block of %llu bytes in %llu",
				 (unsigned long long)len, (unsigned long long)packed);
	r = packed == len ? read_all(reader, reader->bytes, (size_t)len, err)
			  : read_packed(reader, (size_t)len, (size_t)packed, err);
	if (r < 0)
		return r;
	reader->start = 0;
	reader->len = (size_t)len;
	return 1;
}

/* Return: 1, 0 at the end, or error. */
static int next_block(struct container_reader *reader, struct error *err)
{
	uint8_t header[HEADER];
	ssize_t n = read_up_to(reader, header, sizeof(header), err);

	if (n < 0)
		return (int)n;
	if (n == 0) {
		reader->ended = true;
		return 0;
	}
	if (n < HEADER)
		return truncated(err);
	if (!be64_at(header) && !be64_at(header + 8))
		return end(reader, err);
	return read_block(reader, be64_at(header), be64_at(header + 8), err);
}

static int next_bare(struct container_reader *reader, struct error *err)
{
	ssize_t n = reader->read(reader->arg, reader->bytes, reader->block, err);

	if (n < 0)
		return (int)n;
	reader->start = 0;
	reader->len = (size_t)n;
	reader->ended = n == 0;
	return n > 0;
}

int container_reader_peek(struct container_reader *reader, struct slice *bytes, struct error *err)
{
	if (!reader->len) {
		int r = 0;

		if (!reader->ended)
			r = reader->bare ? next_bare(reader, err) : next_block(reader, err);
		if (r <= 0)
			return r;
	}
	*bytes = (struct slice){ reader->bytes + reader->start, reader->len };
	return 1;
}

void container_reader_consume(struct container_reader *reader, size_t n)
{
	reader->start += n;
	reader->len -= n;
}

struct container_reader *container_reader_free(struct container_reader *reader)
{
	if (reader) {
		free(reader->packed);
		free(reader->bytes);
		free(reader);
	}
	return NULL;
}

struct container_writer {
	container_write_fn write;
	void *arg;
	bool begun;
	size_t len;
	/* the header stands right before the data, so that both are one write */
	uint8_t block[HEADER + CONTAINER_BLOCK];
};

struct container_writer *container_writer_new(container_write_fn write, void *arg)
{
	struct container_writer *writer = xmalloc(sizeof(*writer));

	writer->write = write;
	writer->arg = arg;
	writer->begun = false;
	writer->len = 0;
	return writer;
}

static void put_be64(uint8_t *p, uint64_t value)
{
	value = htobe64(value);
	memcpy(p, &value, sizeof(value));
}

static int begin(struct container_writer *writer, struct error *err)
{
	uint8_t bytes[MAGIC + 8] = { 'p', 'b', 'z', 'e' };

	if (writer->begun)
		return 0;
	put_be64(bytes + MAGIC, CONTAINER_BLOCK);
	writer->begun = true;
	return writer->write(writer->arg, bytes, sizeof(bytes), err);
}

static int flush(struct container_writer *writer, struct error *err)
{
	int r = begin(writer, err);

	if (r < 0 || !writer->len)
		return r;
	put_be64(writer->block, writer->len);
	put_be64(writer->block + 8, writer->len);
	r = writer->write(writer->arg, writer->block, HEADER + writer->len, err);
	writer->len = 0;
	return r;
}

int container_writer_room(struct container_writer *writer, void **bytes, size_t *len,
			  struct error *err)
{
	if (writer->len == CONTAINER_BLOCK) {
		int r = flush(writer, err);

		if (r < 0)
			return r;
	}
	*bytes = writer->block + HEADER + writer->len;
	*len = CONTAINER_BLOCK - writer->len;
	return 0;
}

void container_writer_add(struct container_writer *writer, size_t n)
{
	writer->len += n;
}

int container_writer_write(struct container_writer *writer, const void *bytes, size_t len,
			   struct error *err)
{
	const uint8_t *p = bytes;

	while (len) {
		void *room = NULL;
		size_t n = 0;
		int r = container_writer_room(writer, &room, &n, err);

		if (r < 0)
			return r;
		n = n < len ? n : len;
		memcpy(room, p, n);
		container_writer_add(writer, n);
		p += n;
		len -= n;
	}
	return 0;
}

int container_writer_finish(struct container_writer *writer, struct error *err)
{
	return flush(writer, err);
}

struct container_writer *container_writer_free(struct container_writer *writer)
{
	free(writer);
	return NULL;
}
