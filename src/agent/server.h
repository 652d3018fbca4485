/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SERVER_H
#define AGENT_SERVER_H

/*
 * The guest's side of one client: an HTTP/2 session (RFC 9113, prior
 * knowledge) that serves gRPC service Agent over one byte stream. The owner
 * moves the bytes. What is buffered is bounded by HTTP/2's windows, by
 * PROTO_MESSAGE_MAX and JOB_INPUT_MAX per call.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

struct login;
struct loop;
struct server;

/* @wake: server_output() may have something now (called at any time but from within server_*). */
struct server *server_new(struct loop *loop, struct login *login, void (*wake)(void *arg),
			  void *arg) must_use_;
/* Commands that still run are hung up on. NULL is allowed. */
void server_free(struct server *server);
/* Return: 0, or -E_PROTOCOL: close the stream. */
int server_receive(struct server *server, const uint8_t *bytes, size_t len) must_use_;
/* The next bytes to send, valid until the next call; all must be sent. 0: none now. -E_PROTOCOL. */
ssize_t server_output(struct server *server, const uint8_t **bytes) must_use_;
/* Nothing more will come or go: close the stream. */
bool server_is_done(struct server *server);

#endif
