/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A stream is blocks. `block` collects one header; then `left` bytes of content follow, which go
 * to whom they belong in pieces as they come (an entry's) or are collected in `extension` (pax
 * headers, GNU's long names), then `padding` up to the block's end. What an extension says holds
 * for the next entry and is forgotten then.
 */

#include <string.h>

#include "agent/tar.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

/* Where a header's fields are, and how long they are. */
enum {
	NAME_AT = 0,
	NAME_LEN = 100,
	MODE_AT = 100,
	SIZE_AT = 124,
	MTIME_AT = 136,
	SUM_AT = 148,
	TYPE_AT = 156,
	TARGET_AT = 157,
	MAGIC_AT = 257,
	PREFIX_AT = 345,
	PREFIX_LEN = 155,
	SHORT_NUMBER = 8,
	LONG_NUMBER = 12,
};

enum part { PART_HEADER, PART_EXTENSION, PART_CONTENT, PART_END };

struct tar_reader {
	const struct tar_events *events;
	void *arg;
	enum part part;
	uint8_t block[TAR_BLOCK];
	size_t have; /* bytes in block */
	uint64_t left;
	size_t padding;
	char type; /* of the extension */
	struct str extension;
	/* What extensions said; empty or false: nothing. */
	struct str path, target;
	bool has_size, has_mtime;
	uint64_t size;
	struct timespec mtime;
};

struct tar_reader *tar_reader_new(const struct tar_events *events, void *arg)
{
	struct tar_reader *reader = xcalloc(1, sizeof(*reader));

	reader->events = events;
	reader->arg = arg;
	reader->extension = reader->path = reader->target = (struct str)STR_INIT;
	return reader;
}

void tar_reader_free(struct tar_reader *reader)
{
	if (!reader)
		return;
	str_release(&reader->extension);
	str_release(&reader->path);
	str_release(&reader->target);
	free(reader);
}

static int malformed(struct error *err, const char *what)
{
	return error_set(err, E_INVALID, "the archive is damaged: %s", what);
}

/* ---- numbers and names of a header ---- */

/* GNU's: a bit that says so, then a big-endian number in two's complement. */
static int binary_number(const uint8_t *field, size_t len, int64_t *value)
{
	bool negative = field[0] & 0x40;
	int64_t v = negative ? -1 : 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t byte =
			i ? field[i] : (uint8_t)(negative ? field[0] | 0x80 : field[0] & 0x7f);

		if (v > INT64_MAX >> 8 || v < INT64_MIN >> 8)
			return -E_INVALID;
		v = v * 256 + byte;
	}
	*value = v;
	return 0;
}

/* Octal digits between blanks, or GNU's way. Return: 0, or -E_INVALID. */
static int number(const uint8_t *field, size_t len, int64_t *value)
{
	int64_t v = 0;
	size_t i = 0;

	if (field[0] & 0x80)
		return binary_number(field, len, value);
	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		v = v * 8 + (field[i] - '0'); /* at most 12 digits */
	for (; i < len; i++)
		if (field[i] != ' ' && field[i] != '\0')
			return -E_INVALID;
	*value = v;
	return 0;
}

static bool sum_is_right(const uint8_t *block)
{
	int64_t said, sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= SUM_AT && i < SUM_AT + SHORT_NUMBER ? ' ' : block[i];
	return number(block + SUM_AT, SHORT_NUMBER, &said) == 0 && said == sum;
}

static size_t field_length(const uint8_t *field, size_t max)
{
	return strnlen((const char *)field, max);
}

static void header_path(const uint8_t *block, struct str *path)
{
	const uint8_t *prefix = block + PREFIX_AT;
	size_t len = field_length(prefix, PREFIX_LEN);

	/* GNU's magic has a blank there, and other things where the prefix is */
	if (memcmp(block + MAGIC_AT, "ustar", 6) == 0 && len) {
		str_add(path, prefix, len);
		str_addc(path, '/');
	}
	str_add(path, block + NAME_AT, field_length(block + NAME_AT, NAME_LEN));
}

static enum tar_kind kind_of(char type, const struct str *path)
{
	switch (type) {
	case '\0':
	case '0':
	case '7':
		return str_ends(path->ptr, "/") ? TAR_FOLDER : TAR_FILE;
	case '1':
		return TAR_HARD_LINK;
	case '2':
		return TAR_SYMLINK;
	case '5':
		return TAR_FOLDER;
	default:
		return TAR_OTHER;
	}
}

/* ---- extensions ---- */

static int set_path(struct str *to, const char *bytes, size_t len, struct error *err)
{
	if (len >= TAR_PATH_MAX)
		return error_set(err, E_TOO_BIG, "the archive has a name that is too long");
	if (memchr(bytes, 0, len))
		return malformed(err, "a name with a NUL");
	str_reset(to);
	str_add(to, bytes, len);
	return 0;
}

/* "[-]SECONDS[.FRACTION]" */
static int parse_time(const char *text, struct timespec *when)
{
	bool negative = *text == '-';
	auto_free char *seconds = xstrdup(text + negative);
	char *fraction = strchr(seconds, '.');
	uint64_t s;
	long scale = 100000000;

	*when = (struct timespec){ 0 };
	if (fraction)
		*fraction++ = '\0';
	if (str_to_u64(seconds, INT64_MAX / 2, &s) < 0)
		return -E_INVALID;
	for (; fraction && *fraction; fraction++, scale /= 10) {
		if (*fraction < '0' || *fraction > '9')
			return -E_INVALID;
		when->tv_nsec += (*fraction - '0') * scale;
	}
	when->tv_sec = negative ? -(time_t)s : (time_t)s;
	if (negative && when->tv_nsec) {
		when->tv_sec--;
		when->tv_nsec = 1000000000 - when->tv_nsec;
	}
	return 0;
}

/* @value ends with a NUL of its own at value[len]. */
static int apply_record(struct tar_reader *reader, const char *key, const char *value, size_t len,
			struct error *err)
{
	if (strcmp(key, "path") == 0)
		return set_path(&reader->path, value, len, err);
	if (strcmp(key, "linkpath") == 0)
		return set_path(&reader->target, value, len, err);
	if (str_starts(key, "GNU.sparse."))
		return malformed(err, "a sparse file, which nobody asked for");
	if (strcmp(key, "size") == 0) {
		reader->has_size = true;
		if (str_to_u64(value, INT64_MAX, &reader->size) < 0)
			return malformed(err, "a size that is none");
	} else if (strcmp(key, "mtime") == 0) {
		reader->has_mtime = true;
		if (parse_time(value, &reader->mtime) < 0)
			return malformed(err, "a time that is none");
	}
	return 0;
}

/* One "LENGTH key=value\n" at @at of the extension. Return: its length, or error. */
static ssize_t take_record(struct tar_reader *reader, size_t at, struct error *err)
{
	char *record = reader->extension.ptr + at;
	size_t have = reader->extension.len - at;
	char *key = memchr(record, ' ', have), *value;
	uint64_t len;
	int r;

	if (!key)
		return malformed(err, "a pax header");
	*key++ = '\0';
	if (str_to_u64(record, have, &len) < 0 || record + len <= key || record[len - 1] != '\n')
		return malformed(err, "a pax header");
	record[len - 1] = '\0';
	value = memchr(key, '=', (size_t)(record + len - key));
	if (!value)
		return malformed(err, "a pax header");
	*value++ = '\0';
	r = apply_record(reader, key, value, (size_t)(record + len - 1 - value), err);
	return r < 0 ? r : (ssize_t)len;
}

static int take_pax(struct tar_reader *reader, struct error *err)
{
	ssize_t n;

	for (size_t at = 0; at < reader->extension.len; at += (size_t)n) {
		n = take_record(reader, at, err);
		if (n < 0)
			return (int)n;
	}
	return 0;
}

static int take_extension(struct tar_reader *reader, struct error *err)
{
	const struct str *extension = &reader->extension;
	size_t len = strnlen(extension->ptr, extension->len);

	if (reader->type == 'x')
		return take_pax(reader, err);
	if (reader->type == 'L')
		return set_path(&reader->path, extension->ptr, len, err);
	if (reader->type == 'K')
		return set_path(&reader->target, extension->ptr, len, err);
	return 0; /* 'g': it holds for all, and says nothing that we need */
}

static void forget_extensions(struct tar_reader *reader)
{
	str_reset(&reader->path);
	str_reset(&reader->target);
	reader->has_size = reader->has_mtime = false;
}

/* ---- headers ---- */

static void begin_content(struct tar_reader *reader, enum part part, uint64_t size)
{
	reader->part = part;
	reader->left = size;
	reader->padding = (size_t)(-size % TAR_BLOCK);
}

static int begin_extension(struct tar_reader *reader, char type, uint64_t size, struct error *err)
{
	if (size > TAR_EXTENSION_MAX)
		return error_set(err, E_TOO_BIG, "the archive has a header that is too long");
	reader->type = type;
	str_reset(&reader->extension);
	begin_content(reader, PART_EXTENSION, size);
	return 0;
}

static int begin_entry(struct tar_reader *reader, char type, uint64_t size, struct error *err)
{
	const uint8_t *target = reader->block + TARGET_AT;
	struct tar_entry entry = { .mtime = reader->mtime };
	int64_t mode, seconds;

	if (!reader->path.len)
		header_path(reader->block, &reader->path);
	entry.kind = kind_of(type, &reader->path);
	if (entry.kind != TAR_SYMLINK && entry.kind != TAR_HARD_LINK)
		str_reset(&reader->target);
	else if (!reader->target.len)
		str_add(&reader->target, target, field_length(target, NAME_LEN));
	if (number(reader->block + MODE_AT, SHORT_NUMBER, &mode) < 0 ||
	    number(reader->block + MTIME_AT, LONG_NUMBER, &seconds) < 0)
		return malformed(err, "a number");
	if (!reader->has_mtime)
		entry.mtime = (struct timespec){ seconds, 0 };
	entry.mode = (mode_t)mode & 07777;
	entry.path = reader->path.ptr;
	entry.target = reader->target.ptr;
	/* those of POSIX that are no files have no content, whatever their size says */
	entry.size = entry.kind == TAR_FILE || !strchr("123456", type) ? size : 0;
	begin_content(reader, PART_CONTENT, entry.size);
	return reader->events->entry(reader->arg, &entry, err);
}

static int take_header(struct tar_reader *reader, struct error *err)
{
	static const uint8_t zeroes[TAR_BLOCK];
	char type = (char)reader->block[TYPE_AT];
	int64_t size;

	if (memcmp(reader->block, zeroes, TAR_BLOCK) == 0) {
		reader->part = PART_END;
		return 0;
	}
	if (!sum_is_right(reader->block))
		return malformed(err, "a header");
	if (number(reader->block + SIZE_AT, LONG_NUMBER, &size) < 0 || size < 0)
		return malformed(err, "a size");
	if (type && strchr("xgLK", type))
		return begin_extension(reader, type, (uint64_t)size, err);
	return begin_entry(reader, type, reader->has_size ? reader->size : (uint64_t)size, err);
}

/* ---- bytes ---- */

/* The content is whole. */
static int end_content(struct tar_reader *reader, struct error *err)
{
	bool extension = reader->part == PART_EXTENSION;

	reader->part = PART_HEADER;
	if (extension)
		return take_extension(reader, err);
	forget_extensions(reader);
	return reader->events->ended(reader->arg, err);
}

static int take_content(struct tar_reader *reader, const uint8_t *bytes, size_t n,
			struct error *err)
{
	reader->left -= n;
	if (reader->part == PART_CONTENT)
		return reader->events->data(reader->arg, bytes, n, err);
	str_add(&reader->extension, bytes, n);
	return 0;
}

/* Take some of @len bytes. Return: how many, or error. */
static ssize_t take_some(struct tar_reader *reader, const uint8_t *bytes, size_t len,
			 struct error *err)
{
	size_t n = len;
	int r = 0;

	if (reader->part == PART_HEADER) {
		n = n < TAR_BLOCK - reader->have ? n : TAR_BLOCK - reader->have;
		memcpy(reader->block + reader->have, bytes, n);
		reader->have = (reader->have + n) % TAR_BLOCK;
		if (!reader->have)
			r = take_header(reader, err);
	} else if (reader->left) {
		n = n < reader->left ? n : (size_t)reader->left;
		r = take_content(reader, bytes, n, err);
	} else if (reader->padding) {
		n = n < reader->padding ? n : reader->padding;
		reader->padding -= n;
	}
	if (r == 0 && (reader->part == PART_CONTENT || reader->part == PART_EXTENSION) &&
	    !reader->left && !reader->padding)
		r = end_content(reader, err);
	return r < 0 ? r : (ssize_t)n;
}

int tar_reader_feed(struct tar_reader *reader, const uint8_t *bytes, size_t len, struct error *err)
{
	while (len && reader->part != PART_END) {
		ssize_t n = take_some(reader, bytes, len, err);

		if (n < 0)
			return (int)n;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

int tar_reader_finish(const struct tar_reader *reader, struct error *err)
{
	return reader->part == PART_END ? 0 : malformed(err, "it ends too early");
}
