/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_PROTO_H
#define AGENT_PROTO_H

/*
 * The messages of service Agent (contract 6.2, companions E) in protobuf's
 * wire format, and gRPC's five bytes in front of each. Unknown fields are
 * skipped. Both sides' bytes are foreign: lengths are checked, messages are
 * at most PROTO_MESSAGE_MAX, strings hold no NUL.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/str.h"
#include "base/vec.h"

enum {
	PROTO_MESSAGE_MAX = 4 * 1024 * 1024,
	PROTO_PREFIX = 5,
	PROTO_ARGS_MAX = 65536,
	PROTO_ENV_MAX = 4096,
};

#define PROTO_PATH_EXEC "/Agent/Exec"
#define PROTO_PATH_RESOLVE_IP "/Agent/ResolveIP"

/* gRPC status codes that we use or look at. */
enum proto_status {
	PROTO_OK = 0,
	PROTO_CANCELLED = 1,
	PROTO_INVALID_ARGUMENT = 3,
	PROTO_NOT_FOUND = 5,
	PROTO_RESOURCE_EXHAUSTED = 8,
	PROTO_UNIMPLEMENTED = 12,
	PROTO_INTERNAL = 13,
};

DEFINE_VEC(slices, struct slice)

struct proto_size {
	uint32_t rows, cols;
};

/* All slices borrow from the parsed message. */
struct proto_command {
	struct slice name;
	struct slices args;
	bool interactive, tty, detach;
	struct proto_size size; /* 0, 0: not given */
	struct slices env; /* key, value, key, value, ... */
	struct slice workdir; /* empty: home */
};
#define PROTO_COMMAND_INIT                        \
	{                                         \
		.args = VEC_INIT, .env = VEC_INIT \
	}
void proto_command_release(struct proto_command *command);
#define auto_proto_command cleanup_(proto_command_release) struct proto_command

enum proto_request_kind {
	PROTO_REQUEST_NONE, /* nothing that we know */
	PROTO_REQUEST_COMMAND,
	PROTO_REQUEST_INPUT,
	PROTO_REQUEST_RESIZE,
};
struct proto_request {
	enum proto_request_kind kind;
	struct slice message; /* COMMAND: for proto_parse_command() */
	struct slice input; /* INPUT; empty: end of file */
	struct proto_size size; /* RESIZE */
};

enum proto_response_kind {
	PROTO_RESPONSE_NONE,
	PROTO_RESPONSE_EXIT,
	PROTO_RESPONSE_OUTPUT,
	PROTO_RESPONSE_ERROR,
};
struct proto_response {
	enum proto_response_kind kind;
	int32_t code; /* EXIT */
	struct slice output; /* OUTPUT, ERROR (standard error) */
};

/* Parse one message. Return: 0, or -E_INVALID. */
int proto_parse_request(struct slice in, struct proto_request *request) must_use_;
int proto_parse_command(struct slice in, struct proto_command *command) must_use_;
int proto_parse_response(struct slice in, struct proto_response *response) must_use_;
int proto_parse_address(struct slice in, struct slice *ip) must_use_;

/* Append one message, prefix included. */
void proto_add_command(struct str *out, const struct proto_command *command);
void proto_add_input(struct str *out, const void *bytes, size_t len);
void proto_add_resize(struct str *out, struct proto_size size);
void proto_add_exit(struct str *out, int32_t code);
void proto_add_output(struct str *out, enum proto_response_kind kind, const void *bytes,
		      size_t len);
void proto_add_address(struct str *out, const char *ip);
void proto_add_empty(struct str *out);

/* The messages in a stream of bytes: feed what came, take what is whole. */
struct proto_reader {
	struct str in;
	size_t done;
};
#define PROTO_READER_INIT      \
	{                      \
		.in = STR_INIT \
	}
void proto_reader_feed(struct proto_reader *reader, const void *bytes, size_t len);
/*
 * Return: 1 and *message, which borrows until the next feed; 0 none is whole;
 * -E_TOO_BIG, or -E_INVALID (compressed).
 */
int proto_reader_next(struct proto_reader *reader, struct slice *message) must_use_;
/* Bytes fed and not yet taken. */
size_t proto_reader_pending(const struct proto_reader *reader);
void proto_reader_release(struct proto_reader *reader);

#endif
