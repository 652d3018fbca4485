/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CALL_H
#define AGENT_CALL_H

/*
 * One gRPC call as a client, without I/O: an HTTP/2 session (RFC 9113, prior
 * knowledge) with a single stream. The owner moves bytes between it and a
 * connection, adds request messages and gets response messages.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/str.h"

struct call;
struct error;

/* A response message; an error (negative) ends call_receive() with it. */
typedef int (*call_message_fn)(void *arg, struct slice message, struct error *err);

/* A call of @path. */
struct call *call_new(const char *path, call_message_fn message, void *arg) must_use_;
void call_free(struct call *call);

/* Where to append request messages; then say so. */
struct str *call_request(struct call *call);
void call_request_added(struct call *call);
/* No more request messages. */
void call_request_ends(struct call *call);
/* Is so little waiting to be sent that more may be added? */
bool call_wants_input(const struct call *call);

/* What to send next; call_sent() how much of it went. */
struct slice call_output(struct call *call);
void call_sent(struct call *call, size_t n);
/* Return: 0, -E_PROTOCOL, -E_TOO_BIG, or what the message function said. */
int call_receive(struct call *call, const uint8_t *bytes, size_t len, struct error *err) must_use_;

/* Has the other side shown that it speaks HTTP/2? */
bool call_has_answered(const struct call *call);
/* The stream, or a broken session, has ended; call_status() is known. */
bool call_is_done(const struct call *call);
/* Return: 0 status OK; -E_FAILED with the agent's (made printable) message; -E_PROTOCOL. */
int call_status(const struct call *call, struct error *err) must_use_;

#endif
