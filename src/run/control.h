/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_CONTROL_H
#define RUN_CONTROL_H

/*
 * The protocol of --net-softnet-control-fd (companions.md A.12): newline-delimited
 * JSON-RPC 2.0 over a stream, from a peer that may send and read whatever it likes, at whatever
 * pace. Pure: bytes go in, requests come out; answers go in, bytes come out. The
 * socket is control_socket.c's.
 *
 *   softnet.policy.get {}                                    -> result
 *   softnet.policy.set {allow, block[, desiredRevision]}     -> result
 *   result: {allow, block, desiredRevision, ruleCount, bridgeIsolation}
 *
 * The id is a string of at most CONTROL_ID_MAX bytes or an integer; whatever is not a
 * request is answered with id null. A frame that is too long is answered once, and its bytes are
 * thrown away up to its newline.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/str.h"
#include "base/vec.h"

enum {
	CONTROL_FRAME_MAX = 1024 * 1024, /* bytes without the newline */
	CONTROL_OUTPUT_MAX = 4 * 1024 * 1024, /* bytes that the peer has not read yet */
	CONTROL_ID_MAX = 256,
};

enum control_error {
	CONTROL_NO_ERROR = 0,
	CONTROL_PARSE = -32700,
	CONTROL_INVALID_REQUEST = -32600,
	CONTROL_NO_METHOD = -32601,
	CONTROL_INVALID_PARAMS = -32602,
	CONTROL_INTERNAL = -32603, /* the keeper refused it */
	CONTROL_REVISION = -32001, /* desiredRevision has to grow */
	CONTROL_ISOLATION = -32002, /* bridge isolation cannot be changed while the VM runs */
};

/* One connection. */
struct control {
	struct str input; /* at most a frame and what was read with it */
	struct str output; /* to be sent; remove what was by str_consume() */
	size_t start; /* of input: what comes before is done with */
	size_t scanned; /* of input: no newline from start up to there */
	bool discarding; /* the rest of a frame that is too long */
};
#define CONTROL_INIT                                  \
	{                                             \
		.input = STR_INIT, .output = STR_INIT \
	}
void control_release(struct control *control);

/* The policy that is in force. */
struct control_policy {
	const struct strings *allow, *block;
	bool revised; /* .revision was given once */
	int64_t revision;
};

struct control_request {
	bool set; /* set, else get */
	json_t *id; /* owned */
	struct strings allow, block; /* set; owned */
	bool revised;
	int64_t revision;
};
#define CONTROL_REQUEST_INIT                         \
	{                                            \
		.allow = VEC_INIT, .block = VEC_INIT \
	}
void control_request_release(struct control_request *request);
#define auto_control_request cleanup_(control_request_release) struct control_request

/* May more bytes be added? No while a frame waits for room in the output. */
bool control_wants_input(const struct control *control);
void control_add(struct control *control, const void *bytes, size_t len);
/*
 * Take the next request out of the input; what is none is answered on the way. Return: false: there
 * is none yet, or the peer has to read first.
 */
bool control_take(struct control *control, struct control_request *request) must_use_;
/* May the set be made where @now is in force? Return: 0, or what else (enum control_error), of
 * which *why is a text. */
int control_judge(const struct control_request *request, const struct control_policy *now,
		  const char **why) must_use_;

/* The request is done, @policy is in force; or it is not. One of them for each request. */
void control_answer(struct control *control, const struct control_request *request,
		    const struct control_policy *policy);
void control_refuse(struct control *control, const struct control_request *request, int code,
		    const char *why);

/* Does the list switch bridge isolation off: does it name 0.0.0.0/0 or another prefix of no bits,
 * without ports? */
bool control_opens_bridge(const struct strings *allow);

#endif
