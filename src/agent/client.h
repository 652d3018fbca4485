/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CLIENT_H
#define AGENT_CLIENT_H

/*
 * The host's client of the guest agent: one gRPC call over one connected
 * byte stream (control.sock), by a blocking loop of its own. The agent's
 * bytes are the guest's and never trusted: messages, headers and buffers are
 * bounded, and nothing but the command's output reaches the terminal.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct str;
struct strings;

/*
 * In place of this process's standard input, output and error. A negative return ends the call
 * with it. Nothing is asked for or told before the agent has answered.
 */
struct client_streams {
	/* Append the next bytes of input; return 1, or 0 at its end. NULL: there is none. */
	int (*input)(void *arg, struct str *out, struct error *err);
	int (*output)(void *arg, const uint8_t *bytes, size_t len, struct error *err);
	/* What the command says on its standard error. */
	void (*complaint)(void *arg, const uint8_t *bytes, size_t len);
	void *arg;
};

struct client_exec {
	const char *const *argv; /* NULL-terminated, at least one */
	bool interactive; /* pass standard input on */
	bool tty; /* a terminal for the command; ours goes to raw mode if it is one */
	bool detach; /* the call is over, with 0, once the command was started */
	const struct strings *env; /* "KEY=value" each, beyond the login's; may be NULL */
	const char *workdir; /* NULL: the user's home */
	const struct client_streams *streams; /* NULL: this process's own */
	unsigned answer_ms; /* how long to wait for the agent's first byte */
};

/*
 * Run a command in the guest with this process's standard input, output and
 * error. Borrows @fd (made non-blocking). The terminal is restored on every
 * way out, signals included.
 *
 * Return: the command's exit code 0-255 (the low 8 bits), or
 * -ENOTCONN nobody answered (closed or silent for answer_ms before the first
 * byte; nothing was run, the caller may connect anew); -E_PROTOCOL the agent does not
 * keep to the protocol; -E_FAILED a gRPC status, or the call ended without an exit code.
 */
int client_exec(int fd, const struct client_exec *how, struct error *err) must_use_;

/*
 * Ask the agent for the guest's address within @timeout_ms.
 * Return: 0; -ENOTCONN as above; -ETIMEDOUT; -E_FAILED, -E_PROTOCOL.
 */
int client_resolve_ip(int fd, unsigned timeout_ms, struct in_addr *address,
		      struct error *err) must_use_;

#endif
