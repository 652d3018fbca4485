/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/proto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static struct slice text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

/* A message without its five bytes, which must be right. */
static struct slice body(const struct str *s)
{
	const uint8_t *p = (const uint8_t *)s->ptr;

	assert_true(s->len >= PROTO_PREFIX);
	assert_int_equal(p[0], 0);
	assert_int_equal(p[3] << 8 | p[4], s->len - PROTO_PREFIX);
	return (struct slice){ p + PROTO_PREFIX, s->len - PROTO_PREFIX };
}

static void assert_slice(struct slice s, const char *expected)
{
	assert_int_equal(s.len, strlen(expected));
	assert_memory_equal(s.ptr, expected, s.len);
}

static void command_round_trip(void **state unused_)
{
	auto_proto_command in = PROTO_COMMAND_INIT;
	auto_proto_command out = PROTO_COMMAND_INIT;
	struct proto_request request;
	auto_str bytes = STR_INIT;

	in.name = text("ls");
	slices_add(&in.args, text("-l"));
	slices_add(&in.args, text(""));
	in.interactive = in.tty = in.detach = true;
	in.size = (struct proto_size){ 24, 300 };
	slices_add(&in.env, text("A"));
	slices_add(&in.env, text("b=c"));
	in.workdir = text("/tmp");
	proto_add_command(&bytes, &in);
	assert_int_equal(proto_parse_request(body(&bytes), &request), 0);
	assert_int_equal(request.kind, PROTO_REQUEST_COMMAND);
	assert_int_equal(proto_parse_command(request.message, &out), 0);
	assert_slice(out.name, "ls");
	assert_int_equal(out.args.len, 2);
	assert_slice(out.args.items[0], "-l");
	assert_slice(out.args.items[1], "");
	assert_true(out.interactive && out.tty && out.detach);
	assert_int_equal(out.size.rows, 24);
	assert_int_equal(out.size.cols, 300);
	assert_slice(out.env.items[0], "A");
	assert_slice(out.env.items[1], "b=c");
	assert_slice(out.workdir, "/tmp");
}

/* What the stock implementation writes for ExecRequest{command{name "ls" args "-l" tty}}. */
static void command_bytes(void **state unused_)
{
	static const uint8_t expected[] = { 0,	 0,   0,    0, 12,  0x0a, 10,	0x0a, 2,
					    'l', 's', 0x12, 2, '-', 'l',  0x20, 1 };
	auto_proto_command in = PROTO_COMMAND_INIT;
	auto_str bytes = STR_INIT;

	in.name = text("ls");
	slices_add(&in.args, text("-l"));
	in.tty = true;
	proto_add_command(&bytes, &in);
	assert_int_equal(bytes.len, sizeof(expected));
	assert_memory_equal(bytes.ptr, expected, sizeof(expected));
}

static void other_messages_round_trip(void **state unused_)
{
	static const int32_t codes[] = { 0, 1, 255, -1, INT32_MIN };
	struct proto_request request;
	struct proto_response response;
	auto_str bytes = STR_INIT;
	struct slice ip;

	proto_add_input(&bytes, "in", 2);
	assert_int_equal(proto_parse_request(body(&bytes), &request), 0);
	assert_int_equal(request.kind, PROTO_REQUEST_INPUT);
	assert_slice(request.input, "in");
	str_reset(&bytes);
	proto_add_input(&bytes, NULL, 0);
	assert_int_equal(proto_parse_request(body(&bytes), &request), 0);
	assert_int_equal(request.kind, PROTO_REQUEST_INPUT);
	assert_int_equal(request.input.len, 0);
	str_reset(&bytes);
	proto_add_resize(&bytes, (struct proto_size){ 1, 2 });
	assert_int_equal(proto_parse_request(body(&bytes), &request), 0);
	assert_int_equal(request.kind, PROTO_REQUEST_RESIZE);
	assert_int_equal(request.size.rows, 1);
	assert_int_equal(request.size.cols, 2);
	for (size_t i = 0; i < array_size(codes); i++) {
		str_reset(&bytes);
		proto_add_exit(&bytes, codes[i]);
		assert_int_equal(proto_parse_response(body(&bytes), &response), 0);
		assert_int_equal(response.kind, PROTO_RESPONSE_EXIT);
		assert_int_equal(response.code, codes[i]);
	}
	str_reset(&bytes);
	proto_add_output(&bytes, PROTO_RESPONSE_ERROR, "oh", 2);
	assert_int_equal(proto_parse_response(body(&bytes), &response), 0);
	assert_int_equal(response.kind, PROTO_RESPONSE_ERROR);
	assert_slice(response.output, "oh");
	str_reset(&bytes);
	proto_add_address(&bytes, "10.0.0.1");
	assert_int_equal(proto_parse_address(body(&bytes), &ip), 0);
	assert_slice(ip, "10.0.0.1");
}

static int parse_request(const char *bytes, size_t len, struct proto_request *request)
{
	return proto_parse_request((struct slice){ (const uint8_t *)bytes, len }, request);
}

static void unknown_fields_are_skipped(void **state unused_)
{
	/* 9: varint, 10: fixed64, 11: bytes, 12: fixed32, then input "x" */
	static const char bytes[] = "\x48\x96\x01\x51"
				    "12345678"
				    "\x5a\x03"
				    "abc"
				    "\x65"
				    "1234"
				    "\x12\x03\x0a\x01x";
	struct proto_request request;

	assert_int_equal(parse_request(bytes, sizeof(bytes) - 1, &request), 0);
	assert_int_equal(request.kind, PROTO_REQUEST_INPUT);
	assert_slice(request.input, "x");
}

static void malformed_messages_are_refused(void **state unused_)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{ "\x0a", 1 }, /* a length is missing */
		{ "\x0a\x05x", 3 }, /* ... and too long */
		{ "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11 }, /* over 64 bits */
		{ "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11 },
		{ "\x02\x00", 2 }, /* field 0 */
		{ "\x0b", 1 }, /* a group */
		{ "\x51\x01", 2 }, /* fixed64 cut short */
		{ "\x65\x01", 2 },
		{ "\x12\x02\x0a\x05", 4 }, /* inside a message */
		{ "\x1a\x01\x08", 3 },
	};
	struct proto_request request;

	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(parse_request(bad[i].bytes, bad[i].len, &request), -E_INVALID);
}

static int parse_command(const char *bytes, size_t len)
{
	auto_proto_command command = PROTO_COMMAND_INIT;

	return proto_parse_command((struct slice){ (const uint8_t *)bytes, len }, &command);
}

static void strings_that_are_none_are_refused(void **state unused_)
{
	assert_int_equal(parse_command("\x0a\x02l\0", 4), -E_INVALID);
	assert_int_equal(parse_command("\x12\x02l\0", 4), -E_INVALID);
	assert_int_equal(parse_command("\x42\x02/\0", 4), -E_INVALID);
	assert_int_equal(parse_command("\x3a\x03\x12\x01x", 5), -E_INVALID); /* no key */
	assert_int_equal(parse_command("\x3a\x04\x0a\x02"
				       "a=",
				       6),
			 -E_INVALID);
	assert_int_equal(parse_command("\x0a\x02ls", 4), 0);
}

static void reader_cuts_messages(void **state unused_)
{
	struct proto_reader reader = PROTO_READER_INIT;
	auto_str bytes = STR_INIT;
	struct slice message;
	unsigned found = 0;

	proto_add_input(&bytes, "one", 3);
	proto_add_empty(&bytes);
	proto_add_input(&bytes, "three", 5);
	for (size_t i = 0; i < bytes.len; i++) {
		proto_reader_feed(&reader, bytes.ptr + i, 1);
		while (proto_reader_next(&reader, &message) > 0)
			found++;
	}
	assert_int_equal(found, 3);
	assert_int_equal(proto_reader_pending(&reader), 0);
	proto_reader_feed(&reader, "\0\0\x40\0\1", 5);
	assert_int_equal(proto_reader_next(&reader, &message), -E_TOO_BIG);
	proto_reader_release(&reader);
	reader = (struct proto_reader)PROTO_READER_INIT;
	proto_reader_feed(&reader, "\1\0\0\0\0", 5);
	assert_int_equal(proto_reader_next(&reader, &message), -E_INVALID);
	proto_reader_release(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(command_round_trip),
		cmocka_unit_test(command_bytes),
		cmocka_unit_test(other_messages_round_trip),
		cmocka_unit_test(unknown_fields_are_skipped),
		cmocka_unit_test(malformed_messages_are_refused),
		cmocka_unit_test(strings_that_are_none_are_refused),
		cmocka_unit_test(reader_cuts_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
