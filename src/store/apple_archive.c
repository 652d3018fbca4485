/* SPDX-License-Identifier: Apache-2.0 */
#include "store/apple_archive.h"

#include <endian.h>
#include <string.h>

#include "base/error.h"
#include "store/apple_container.h"

enum { KEY = 3, FIELD = KEY + 1 };

/* A field in a header, its value as bytes. */
struct field {
	char key[KEY];
	char form;
	struct slice value; /* of a text, the text; of a blob, the length */
};

static int damaged(struct error *err)
{
	return error_set(err, E_INVALID, "the archive is damaged: an entry's header");
}

static uint64_t le_number(struct slice bytes)
{
	uint64_t value = 0;

	memcpy(&value, bytes.ptr, bytes.len < sizeof(value) ? bytes.len : sizeof(value));
	return le64toh(value);
}

/* Return: bytes of a value of this form (of a text, of its length); -1 there is no such form. */
static int value_length(char form)
{
	static const struct {
		char form;
		int length;
	} forms[] = {
		{ '*', 0 },  { '1', 1 },  { '2', 2 },  { '4', 4 },  { '8', 8 }, { 'F', 4 },
		{ 'G', 20 }, { 'H', 32 }, { 'I', 48 }, { 'J', 64 }, { 'S', 8 }, { 'T', 12 },
		{ 'P', 2 },  { 'A', 2 },  { 'B', 4 },  { 'C', 8 },
	};

	for (size_t i = 0; i < array_size(forms); i++)
		if (forms[i].form == form)
			return forms[i].length;
	return -1;
}

/* Take one field off @rest. */
static bool next_field(struct slice *rest, struct field *field)
{
	int n;

	if (rest->len < FIELD)
		return false;
	memcpy(field->key, rest->ptr, KEY);
	field->form = (char)rest->ptr[KEY];
	*rest = (struct slice){ rest->ptr + FIELD, rest->len - FIELD };
	n = value_length(field->form);
	if (n < 0 || (size_t)n > rest->len)
		return false;
	field->value = (struct slice){ rest->ptr, (size_t)n };
	*rest = (struct slice){ rest->ptr + n, rest->len - (size_t)n };
	if (field->form == 'P') {
		field->value = (struct slice){ rest->ptr, (size_t)le_number(field->value) };
		if (field->value.len > rest->len)
			return false;
		*rest = (struct slice){ rest->ptr + field->value.len,
					rest->len - field->value.len };
	}
	return true;
}

static bool is_key(const struct field *field, const char *key)
{
	return memcmp(field->key, key, KEY) == 0;
}

/* What of an entry has been seen. */
struct seen {
	bool type, path, data;
};

static bool take_type(const struct field *field, struct apple_entry *entry, struct seen *seen)
{
	if (field->form != '1' || seen->type)
		return false;
	seen->type = true;
	entry->type = field->value.ptr[0];
	return true;
}

static bool take_path(const struct field *field, struct apple_entry *entry, struct seen *seen)
{
	if (field->form != 'P' || seen->path || field->value.len > APPLE_PATH_MAX ||
	    (field->value.len && memchr(field->value.ptr, 0, field->value.len)))
		return false;
	seen->path = true;
	memcpy(entry->path, field->value.ptr, field->value.len);
	entry->path[field->value.len] = '\0';
	return true;
}

static bool take_blob(const struct field *field, struct apple_entry *entry, struct seen *seen)
{
	uint64_t size = le_number(field->value);
	uint64_t *sum = seen->data ? &entry->after : &entry->before;

	if (is_key(field, "DAT")) {
		if (seen->data)
			return false;
		seen->data = true;
		sum = &entry->size;
	}
	return !__builtin_add_overflow(*sum, size, sum);
}

static bool is_blob(const struct field *field)
{
	return field->form == 'A' || field->form == 'B' || field->form == 'C';
}

static bool take_field(const struct field *field, struct apple_entry *entry, struct seen *seen)
{
	if (is_key(field, "TYP"))
		return take_type(field, entry, seen);
	if (is_key(field, "PAT"))
		return take_path(field, entry, seen);
	if (is_blob(field))
		return take_blob(field, entry, seen);
	return !is_key(field, "DAT"); /* other fields are nothing to us */
}

static bool is_magic(const uint8_t *bytes)
{
	return memcmp(bytes, "AA01", 4) == 0;
}

static size_t header_length(const uint8_t prefix[APPLE_PREFIX])
{
	return prefix[4] | (size_t)prefix[5] << 8;
}

int apple_entry_parse(struct slice header, struct apple_entry *entry, struct error *err)
{
	struct apple_entry parsed = { 0 };
	struct seen seen = { 0 };

	if (header.len < APPLE_PREFIX || !is_magic(header.ptr) ||
	    header_length(header.ptr) != header.len)
		return damaged(err);
	header = (struct slice){ header.ptr + APPLE_PREFIX, header.len - APPLE_PREFIX };
	while (header.len) {
		struct field field = { 0 };

		if (!next_field(&header, &field) || !take_field(&field, &parsed, &seen))
			return damaged(err);
	}
	if (!seen.type)
		return damaged(err);
	*entry = parsed;
	return 0;
}

static void add_bytes(struct str *out, uint64_t value, size_t n)
{
	value = htole64(value);
	str_add(out, &value, n);
}

/* A number in as few bytes as hold it: 1, 2, 4 or 8. */
static void add_number(struct str *out, const char *key, uint64_t value)
{
	size_t n = value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : value <= UINT32_MAX ? 4 : 8;

	str_addf(out, "%s%zu", key, n);
	add_bytes(out, value, n);
}

static void add_time(struct str *out, const char *key, struct timespec when)
{
	str_addf(out, "%sT", key);
	add_bytes(out, (uint64_t)when.tv_sec, 8);
	add_bytes(out, (uint64_t)when.tv_nsec, 4);
}

static void add_blob(struct str *out, const char *key, uint64_t size)
{
	size_t n = size <= UINT16_MAX ? 2 : size <= UINT32_MAX ? 4 : 8;

	str_addf(out, "%s%c", key, n == 2 ? 'A' : n == 4 ? 'B' : 'C');
	add_bytes(out, size, n);
}

/* @path is one of ours and short. */
static void add_common(struct str *out, char type, const char *path,
		       const struct apple_attributes *attributes)
{
	str_add(out, "AA01\0\0", APPLE_PREFIX);
	add_number(out, "TYP", (uint8_t)type);
	str_adds(out, "PATP");
	add_bytes(out, strlen(path), 2);
	str_adds(out, path);
	add_number(out, "UID", attributes->uid);
	add_number(out, "GID", attributes->gid);
	str_adds(out, "MOD2");
	add_bytes(out, attributes->mode, 2);
	add_number(out, "FLG", 0);
	add_time(out, "MTM", attributes->modified);
	add_time(out, "BTM", attributes->created);
	add_time(out, "CTM", attributes->changed);
}

/* Fill in the length of the header that began at @start. */
static void close_header(struct str *out, size_t start)
{
	size_t len = out->len - start;

	out->ptr[start + 4] = (char)(len & 0xff);
	out->ptr[start + 5] = (char)(len >> 8);
}

void apple_entry_add_file(struct str *out, const char *path,
			  const struct apple_attributes *attributes, uint64_t size)
{
	size_t start = out->len;

	add_common(out, 'F', path, attributes);
	add_blob(out, "DAT", size);
	close_header(out, start);
}

void apple_entry_add_directory(struct str *out, const char *path,
			       const struct apple_attributes *attributes)
{
	size_t start = out->len;

	add_common(out, 'D', path, attributes);
	close_header(out, start);
}

int apple_content(struct container_reader *reader, uint64_t n, apple_take_fn take_bytes, void *arg,
		  struct error *err)
{
	while (n) {
		struct slice bytes;
		int r = container_reader_peek(reader, &bytes, err);

		if (r == 0)
			return error_set(err, E_INVALID, "the archive is truncated");
		if (r < 0)
			return r;
		if (bytes.len > n)
			bytes.len = (size_t)n;
		r = take_bytes ? take_bytes(arg, bytes.ptr, bytes.len, err) : 0;
		if (r < 0)
			return r;
		container_reader_consume(reader, bytes.len);
		n -= bytes.len;
	}
	return 0;
}

static int gather(void *arg, const void *bytes, size_t len, struct error *err)
{
	(void)err;
	str_add(arg, bytes, len);
	return 0;
}

int apple_entry_read(struct container_reader *reader, struct apple_entry *entry, struct error *err)
{
	auto_str header = STR_INIT;
	const uint8_t *prefix;
	struct slice bytes;
	int r = container_reader_peek(reader, &bytes, err);

	if (r <= 0)
		return r;
	r = apple_content(reader, APPLE_PREFIX, gather, &header, err);
	if (r < 0)
		return r;
	prefix = (const uint8_t *)header.ptr;
	if (!is_magic(prefix))
		return error_set(err, E_INVALID,
				 "the archive is damaged: no entry where one should be");
	if (header_length(prefix) < APPLE_PREFIX)
		return damaged(err);
	r = apple_content(reader, header_length(prefix) - APPLE_PREFIX, gather, &header, err);
	if (r == 0)
		r = apple_entry_parse((struct slice){ (const uint8_t *)header.ptr, header.len },
				      entry, err);
	return r < 0 ? r : 1;
}
