/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_MANAGE_H
#define STORE_MANAGE_H

/*
 * Requests to a running VM's `run` over manage.sock (AF_UNIX stream, 0600): one
 * line in, one line out, then close.
 *
 *   freeze          "ok", or "error <text>"
 *   screenshot      "ok" when the screen is drawn as PNG into the file that came along, or
 *                   "error <text>"
 *   {"net":...}     a JSON object (run/net_request.h), or "error <text>"
 *
 * The asker for a freeze holds the VM's .lock and sends its descriptor along. A flock belongs to
 * the open file, not to a process: so the VM stays locked until `run` is done with it, too, though
 * the asker may have given up waiting, or been killed.
 */

#include <stdbool.h>

#include "base/attr.h"
#include "base/str.h"

struct error;
struct vm;

/* Bytes of a line: of a request, which carries 4,096 targets and 1 MiB of filter text in JSON, and
 * of an answer, which escapes them anew. */
enum { MANAGE_REQUEST_MAX = 2 * 1024 * 1024, MANAGE_ANSWER_MAX = 8 * 1024 * 1024 };

/*
 * Send @request (no newline inside) with @lock, from vm_lock() or a file, and wait at most
 * @timeout_ms for the answer. Return: 0; an error reply is E_FAILED with its text; nobody there, or
 * gone before it answered: E_NOT_RUNNING (it may hold the running lock for a moment yet).
 */
int manage_request(const struct vm *vm, const char *request, int lock, unsigned timeout_ms,
		   struct error *err) must_use_;
/* The same for a request in JSON, without a lock; @answer gets the line. E_TOO_BIG: it has more
 * than MANAGE_REQUEST_MAX bytes. */
int manage_ask(const struct vm *vm, const char *request, unsigned timeout_ms, struct str *answer,
	       struct error *err) must_use_;

/* `run`'s side: what has come of one request. */
struct manage_input {
	struct str line;
	int lock; /* the descriptor that came along (screenshot: the file), -1: none; owned */
};
#define MANAGE_INPUT_INIT                    \
	{                                    \
		.line = STR_INIT, .lock = -1 \
	}
void manage_input_release(struct manage_input *input);
/*
 * Read what is there of the request over @client, without waiting.
 * Return: 1 @input->line is whole, without its end; 0 not yet; or error, -E_NOT_RUNNING where the
 * asker has gone.
 */
int manage_read(int client, struct manage_input *input, struct error *err) must_use_;
/* Did the lock of @vm come along? E_PROTOCOL. */
int manage_check_lock(const struct vm *vm, const struct manage_input *input,
		      struct error *err) must_use_;
/* Listen on manage.sock (stale one removed), long paths included. Return: fd. */
int manage_listen(const struct vm *vm, struct error *err) must_use_;
/* AF_UNIX in a directory whose path may be longer than sun_path. Return: fd. */
int vm_socket_listen(const struct vm *vm, const char *name, struct error *err) must_use_;
int vm_socket_connect(const struct vm *vm, const char *name, struct error *err) must_use_;

#endif
