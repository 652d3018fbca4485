/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_REQUESTS_H
#define RUN_REQUESTS_H

/*
 * The clients of manage.sock (store/manage.h) in `run`'s loop: each sends one
 * line and gets one. Nobody is waited for: a request is read as it comes and an
 * answer written as it is taken, both within a time, and as long as
 * REQUESTS_MAX clients are there no other is let in.
 */

#include <stdbool.h>
#include <uv.h>

#include "base/attr.h"
#include "base/str.h"

struct error;
struct network;
struct request;
struct session;

enum { REQUESTS_MAX = 32 };

struct requests {
	struct session *session;
	uv_poll_t poll; /* of the listening socket */
	uv_timer_t rest; /* while it is not looked at: the system has no more to give */
	int listening; /* -1: none; owned */
	struct request *first;
	unsigned count;
};
#define REQUESTS_INIT           \
	{                       \
		.listening = -1 \
	}

/* Serve those who connect to @listening, which is taken over. */
int requests_start(struct requests *requests, struct session *session, uv_loop_t *loop,
		   int listening, struct error *err) must_use_;
/* After the loop has closed its handles. */
void requests_release(struct requests *requests);

struct network *request_network(const struct request *request);
/* The answer to @request: @line without its end, or the error. Once; at any time after it came. */
void request_answer(struct request *request, const struct str *line);
void request_fail(struct request *request, const struct error *err);
/* It failed in a way that says only that the VM is ending: the client sees the end of file. */
void request_drop(struct request *request);

#endif
