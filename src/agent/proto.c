/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/proto.h"

#include <string.h>

#include "base/error.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* ---- reading ---- */

struct field {
	uint32_t number;
	uint32_t wire;
	uint64_t varint;
	struct slice bytes;
};

/* Return: 0, or -E_INVALID where @in ends too early or the number has over 64 bits. */
static int take_varint(struct slice *in, uint64_t *value)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70 && in->len; shift += 7) {
		uint64_t byte = *in->ptr;

		in->ptr++;
		in->len--;
		if (shift == 63 && byte > 1)
			return -E_INVALID;
		v |= (byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*value = v;
			return 0;
		}
	}
	return -E_INVALID;
}

static int take_bytes(struct slice *in, uint64_t n, struct slice *bytes)
{
	if (n > in->len)
		return -E_INVALID;
	*bytes = (struct slice){ in->ptr, (size_t)n };
	in->ptr += n;
	in->len -= (size_t)n;
	return 0;
}

/* Return: 1 and the next field, 0 at the end, -E_INVALID. */
static int next_field(struct slice *in, struct field *field)
{
	uint64_t key, n;
	int r;

	*field = (struct field){ 0 };
	if (!in->len)
		return 0;
	if (take_varint(in, &key) < 0 || key >> 32 || key >> 3 == 0)
		return -E_INVALID;
	field->number = (uint32_t)(key >> 3);
	field->wire = (uint32_t)(key & 7);
	switch (field->wire) {
	case WIRE_VARINT:
		r = take_varint(in, &field->varint);
		break;
	case WIRE_FIXED64:
		r = take_bytes(in, 8, &field->bytes);
		break;
	case WIRE_BYTES:
		r = take_varint(in, &n);
		if (r == 0)
			r = take_bytes(in, n, &field->bytes);
		break;
	case WIRE_FIXED32:
		r = take_bytes(in, 4, &field->bytes);
		break;
	default: /* groups are not proto3 */
		r = -E_INVALID;
	}
	return r < 0 ? r : 1;
}

static bool is(const struct field *field, uint32_t number, enum wire wire)
{
	return field->number == number && field->wire == (uint32_t)wire;
}

static bool has_nul(struct slice s)
{
	return s.len && memchr(s.ptr, 0, s.len);
}

/* The one bytes or string field @number of a message that has no other. */
static int parse_single(struct slice in, uint32_t number, struct slice *value)
{
	struct field f;
	int r;

	*value = (struct slice){ in.ptr, 0 };
	while ((r = next_field(&in, &f)) > 0)
		if (is(&f, number, WIRE_BYTES))
			*value = f.bytes;
	return r;
}

static int parse_size(struct slice in, struct proto_size *size)
{
	struct field f;
	int r;

	*size = (struct proto_size){ 0 };
	while ((r = next_field(&in, &f)) > 0) {
		if (is(&f, 1, WIRE_VARINT))
			size->rows = (uint32_t)f.varint;
		else if (is(&f, 2, WIRE_VARINT))
			size->cols = (uint32_t)f.varint;
	}
	return r;
}

void proto_command_release(struct proto_command *command)
{
	slices_release(&command->args);
	slices_release(&command->env);
}

static int add_slice(struct slices *list, size_t max, struct slice s)
{
	if (list->len >= max || has_nul(s))
		return -E_INVALID;
	slices_add(list, s);
	return 0;
}

/* One entry of map<string, string>: an empty key or a '=' in it names no variable. */
static int parse_env(struct slice in, struct slices *env)
{
	struct slice entry = in, key, value;

	if (parse_single(in, 1, &key) < 0 || parse_single(entry, 2, &value) < 0)
		return -E_INVALID;
	if (!key.len || memchr(key.ptr, '=', key.len))
		return -E_INVALID;
	if (add_slice(env, 2 * PROTO_ENV_MAX, key) < 0)
		return -E_INVALID;
	return add_slice(env, 2 * PROTO_ENV_MAX, value);
}

static int command_field(const struct field *f, struct proto_command *command)
{
	if (is(f, 1, WIRE_BYTES))
		command->name = f->bytes;
	else if (is(f, 2, WIRE_BYTES))
		return add_slice(&command->args, PROTO_ARGS_MAX, f->bytes);
	else if (is(f, 3, WIRE_VARINT))
		command->interactive = f->varint != 0;
	else if (is(f, 4, WIRE_VARINT))
		command->tty = f->varint != 0;
	else if (is(f, 5, WIRE_BYTES))
		return parse_size(f->bytes, &command->size);
	else if (is(f, 6, WIRE_VARINT))
		command->detach = f->varint != 0;
	else if (is(f, 7, WIRE_BYTES))
		return parse_env(f->bytes, &command->env);
	else if (is(f, 8, WIRE_BYTES))
		command->workdir = f->bytes;
	return 0;
}

int proto_parse_command(struct slice in, struct proto_command *command)
{
	struct field f;
	int r;

	while ((r = next_field(&in, &f)) > 0)
		if (command_field(&f, command) < 0)
			return -E_INVALID;
	return has_nul(command->name) || has_nul(command->workdir) ? -E_INVALID : r;
}

int proto_parse_request(struct slice in, struct proto_request *request)
{
	struct field f;
	int r;

	*request = (struct proto_request){ .kind = PROTO_REQUEST_NONE };
	while ((r = next_field(&in, &f)) > 0) {
		if (is(&f, 1, WIRE_BYTES)) {
			*request = (struct proto_request){ .kind = PROTO_REQUEST_COMMAND };
			request->message = f.bytes;
		} else if (is(&f, 2, WIRE_BYTES)) {
			*request = (struct proto_request){ .kind = PROTO_REQUEST_INPUT };
			r = parse_single(f.bytes, 1, &request->input);
		} else if (is(&f, 3, WIRE_BYTES)) {
			*request = (struct proto_request){ .kind = PROTO_REQUEST_RESIZE };
			r = parse_size(f.bytes, &request->size);
		}
		if (r < 0)
			return r;
	}
	return r;
}

static int parse_exit(struct slice in, int32_t *code)
{
	struct field f;
	int r;

	*code = 0;
	while ((r = next_field(&in, &f)) > 0)
		if (is(&f, 1, WIRE_VARINT))
			*code = (int32_t)(uint32_t)f.varint;
	return r;
}

int proto_parse_response(struct slice in, struct proto_response *response)
{
	struct field f;
	int r;

	*response = (struct proto_response){ .kind = PROTO_RESPONSE_NONE };
	/* a oneof: the last one wins, and nothing of those before it stays */
	while ((r = next_field(&in, &f)) > 0) {
		if (is(&f, 1, WIRE_BYTES)) {
			*response = (struct proto_response){ .kind = PROTO_RESPONSE_EXIT };
			r = parse_exit(f.bytes, &response->code);
		} else if (is(&f, 2, WIRE_BYTES)) {
			*response = (struct proto_response){ .kind = PROTO_RESPONSE_OUTPUT };
			r = parse_single(f.bytes, 1, &response->output);
		} else if (is(&f, 3, WIRE_BYTES)) {
			*response = (struct proto_response){ .kind = PROTO_RESPONSE_ERROR };
			r = parse_single(f.bytes, 1, &response->output);
		}
		if (r < 0)
			return r;
	}
	return r;
}

int proto_parse_address(struct slice in, struct slice *ip)
{
	int r = parse_single(in, 1, ip);

	return r == 0 && has_nul(*ip) ? -E_INVALID : r;
}

/* ---- writing ---- */

static void add_varint(struct str *out, uint64_t v)
{
	while (v >= 0x80) {
		str_addc(out, (char)(uint8_t)(v | 0x80));
		v >>= 7;
	}
	str_addc(out, (char)(uint8_t)v);
}

static size_t varint_size(uint64_t v)
{
	size_t n = 1;

	while (v >>= 7)
		n++;
	return n;
}

static void add_key(struct str *out, uint32_t number, enum wire wire)
{
	add_varint(out, number << 3 | (uint32_t)wire);
}

/* Numbers and flags: zero is not sent (proto3). */
static void add_number(struct str *out, uint32_t number, uint64_t v)
{
	if (!v)
		return;
	add_key(out, number, WIRE_VARINT);
	add_varint(out, v);
}

static void add_bytes(struct str *out, uint32_t number, const void *bytes, size_t len)
{
	add_key(out, number, WIRE_BYTES);
	add_varint(out, len);
	str_add(out, bytes, len);
}

static void add_message(struct str *out, uint32_t number, const struct str *message)
{
	add_bytes(out, number, message->ptr, message->len);
}

static void add_prefix(struct str *out, size_t len)
{
	uint8_t prefix[PROTO_PREFIX] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
					 (uint8_t)(len >> 8), (uint8_t)len };

	str_add(out, prefix, sizeof(prefix));
}

/* A message whose one field @number is an IOChunk, written without a copy. */
static void add_chunk(struct str *out, uint32_t number, const void *bytes, size_t len)
{
	size_t chunk = len ? 1 + varint_size(len) + len : 0;

	add_prefix(out, 1 + varint_size(chunk) + chunk);
	add_key(out, number, WIRE_BYTES);
	add_varint(out, chunk);
	if (len)
		add_bytes(out, 1, bytes, len);
}

/* A message whose one field @number is @inner. */
static void add_wrapped(struct str *out, uint32_t number, const struct str *inner)
{
	add_prefix(out, 1 + varint_size(inner->len) + inner->len);
	add_message(out, number, inner);
}

static void add_size_fields(struct str *out, struct proto_size size)
{
	add_number(out, 1, size.rows);
	add_number(out, 2, size.cols);
}

static void add_env_entry(struct str *out, struct slice key, struct slice value)
{
	auto_str entry = STR_INIT;

	add_bytes(&entry, 1, key.ptr, key.len);
	add_bytes(&entry, 2, value.ptr, value.len);
	add_message(out, 7, &entry);
}

void proto_add_command(struct str *out, const struct proto_command *command)
{
	auto_str m = STR_INIT;
	auto_str size = STR_INIT;

	add_bytes(&m, 1, command->name.ptr, command->name.len);
	for (size_t i = 0; i < command->args.len; i++)
		add_bytes(&m, 2, command->args.items[i].ptr, command->args.items[i].len);
	add_number(&m, 3, command->interactive);
	add_number(&m, 4, command->tty);
	add_size_fields(&size, command->size);
	if (size.len)
		add_message(&m, 5, &size);
	add_number(&m, 6, command->detach);
	for (size_t i = 0; i + 1 < command->env.len; i += 2)
		add_env_entry(&m, command->env.items[i], command->env.items[i + 1]);
	if (command->workdir.len)
		add_bytes(&m, 8, command->workdir.ptr, command->workdir.len);
	add_wrapped(out, 1, &m);
}

void proto_add_input(struct str *out, const void *bytes, size_t len)
{
	add_chunk(out, 2, bytes, len);
}

void proto_add_resize(struct str *out, struct proto_size size)
{
	auto_str m = STR_INIT;

	add_size_fields(&m, size);
	add_wrapped(out, 3, &m);
}

void proto_add_exit(struct str *out, int32_t code)
{
	auto_str m = STR_INIT;

	add_number(&m, 1, (uint64_t)(int64_t)code);
	add_wrapped(out, 1, &m);
}

void proto_add_output(struct str *out, enum proto_response_kind kind, const void *bytes, size_t len)
{
	add_chunk(out, (uint32_t)kind, bytes, len);
}

void proto_add_address(struct str *out, const char *ip)
{
	auto_str m = STR_INIT;

	add_bytes(&m, 1, ip, strlen(ip));
	add_prefix(out, m.len);
	str_add(out, m.ptr, m.len);
}

void proto_add_empty(struct str *out)
{
	add_prefix(out, 0);
}

/* ---- messages in a stream ---- */

void proto_reader_feed(struct proto_reader *reader, const void *bytes, size_t len)
{
	str_consume(&reader->in, reader->done);
	reader->done = 0;
	str_add(&reader->in, bytes, len);
}

int proto_reader_next(struct proto_reader *reader, struct slice *message)
{
	const uint8_t *p = (const uint8_t *)reader->in.ptr + reader->done;
	size_t have = reader->in.len - reader->done;
	uint32_t len;

	if (have < PROTO_PREFIX)
		return 0;
	len = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
	if (p[0] != 0)
		return -E_INVALID;
	if (len > PROTO_MESSAGE_MAX)
		return -E_TOO_BIG;
	if (have - PROTO_PREFIX < len)
		return 0;
	*message = (struct slice){ p + PROTO_PREFIX, len };
	reader->done += PROTO_PREFIX + len;
	return 1;
}

size_t proto_reader_pending(const struct proto_reader *reader)
{
	return reader->in.len - reader->done;
}

void proto_reader_release(struct proto_reader *reader)
{
	str_release(&reader->in);
	reader->done = 0;
}
