/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_MANAGE_H
#define STORE_MANAGE_H

/*
 * Requests to a running VM's `run` over manage.sock (AF_UNIX stream, 0600): one
 * line in, one line out, then close. "freeze" (the asker holds the VM's .lock):
 * "ok", or "error <text>".
 */

#include "base/attr.h"

struct error;
struct str;
struct vm;

enum { MANAGE_LINE_MAX = 4096 };

/*
 * Send @request (no newline inside) and wait at most @timeout_ms for the answer.
 * Return: 0; an error reply is E_FAILED with its text; nobody there: E_NOT_RUNNING.
 */
int manage_request(const struct vm *vm, const char *request, unsigned timeout_ms,
		   struct error *err) must_use_;
/* Listen on manage.sock (stale one removed), long paths included. Return: fd. */
int manage_listen(const struct vm *vm, struct error *err) must_use_;
/* AF_UNIX in a directory whose path may be longer than sun_path. Return: fd. */
int vm_socket_listen(const struct vm *vm, const char *name, struct error *err) must_use_;
int vm_socket_connect(const struct vm *vm, const char *name, struct error *err) must_use_;

#endif
