/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_MANAGE_H
#define STORE_MANAGE_H

/*
 * Requests to a running VM's `run` over manage.sock (AF_UNIX stream, 0600): one
 * line in, one line out, then close. "freeze": "ok", or "error <text>".
 *
 * The asker holds the VM's .lock and sends its descriptor along. A flock belongs to the open file,
 * not to a process: so the VM stays locked until `run` is done with it, too, though the asker may
 * have given up waiting, or been killed.
 */

#include "base/attr.h"

struct error;
struct str;
struct vm;

enum { MANAGE_LINE_MAX = 4096 };

/*
 * Send @request (no newline inside) with @lock, from vm_lock(), and wait at most @timeout_ms
 * for the answer.
 * Return: 0; an error reply is E_FAILED with its text; nobody there, or gone before it answered:
 * E_NOT_RUNNING (it may hold the running lock for a moment yet).
 */
int manage_request(const struct vm *vm, const char *request, int lock, unsigned timeout_ms,
		   struct error *err) must_use_;
/*
 * `run`'s side: read the request that comes over @client within @timeout_ms. *lock becomes the
 * caller's, who closes it when he has done what was asked and answered. E_PROTOCOL where no lock of
 * @vm comes along.
 */
int manage_receive(const struct vm *vm, int client, unsigned timeout_ms, struct str *request,
		   int *lock, struct error *err) must_use_;
/* Listen on manage.sock (stale one removed), long paths included. Return: fd. */
int manage_listen(const struct vm *vm, struct error *err) must_use_;
/* AF_UNIX in a directory whose path may be longer than sun_path. Return: fd. */
int vm_socket_listen(const struct vm *vm, const char *name, struct error *err) must_use_;
int vm_socket_connect(const struct vm *vm, const char *name, struct error *err) must_use_;

#endif
