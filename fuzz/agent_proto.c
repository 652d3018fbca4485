/* SPDX-License-Identifier: Apache-2.0 */

/* The agent's messages; what is understood must survive being written and read again. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct slice body(const struct str *s)
{
	return (struct slice){ (const uint8_t *)s->ptr + PROTO_PREFIX, s->len - PROTO_PREFIX };
}

static void try_command(struct slice message)
{
	auto_proto_command command = PROTO_COMMAND_INIT;
	auto_proto_command again = PROTO_COMMAND_INIT;
	struct proto_request request;
	auto_str out = STR_INIT;

	if (proto_parse_command(message, &command) < 0)
		return;
	proto_add_command(&out, &command);
	if (proto_parse_request(body(&out), &request) < 0 ||
	    proto_parse_command(request.message, &again) < 0)
		abort();
	assert(again.args.len == command.args.len && again.env.len == command.env.len);
	assert(again.name.len == command.name.len && again.tty == command.tty);
}

static void try_request(struct slice message)
{
	struct proto_request request, again;
	auto_str out = STR_INIT;

	if (proto_parse_request(message, &request) < 0)
		return;
	if (request.kind == PROTO_REQUEST_COMMAND)
		try_command(request.message);
	else if (request.kind == PROTO_REQUEST_INPUT)
		proto_add_input(&out, request.input.ptr, request.input.len);
	else if (request.kind == PROTO_REQUEST_RESIZE)
		proto_add_resize(&out, request.size);
	if (out.len && (proto_parse_request(body(&out), &again) < 0 || again.kind != request.kind))
		abort();
}

static void try_response(struct slice message)
{
	struct proto_response response, again;
	auto_str out = STR_INIT;
	struct slice ip;

	if (proto_parse_address(message, &ip) == 0 && ip.len < 64)
		proto_add_address(&out, "192.0.2.1");
	str_reset(&out);
	if (proto_parse_response(message, &response) < 0)
		return;
	if (response.kind == PROTO_RESPONSE_EXIT)
		proto_add_exit(&out, response.code);
	else if (response.kind != PROTO_RESPONSE_NONE)
		proto_add_output(&out, response.kind, response.output.ptr, response.output.len);
	if (out.len && (proto_parse_response(body(&out), &again) < 0 ||
			again.kind != response.kind || again.code != response.code))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct proto_reader reader = PROTO_READER_INIT;
	struct slice message;
	auto_str empty = STR_INIT;

	proto_add_empty(&empty);
	proto_reader_feed(&reader, bytes, len / 2);
	proto_reader_feed(&reader, bytes + len / 2, len - len / 2);
	while (proto_reader_next(&reader, &message) > 0) {
		try_request(message);
		try_response(message);
	}
	assert(proto_reader_pending(&reader) <= len);
	proto_reader_release(&reader);
	return 0;
}
