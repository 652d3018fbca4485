/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_SCRIPTED_SERVER_H
#define OCI_SCRIPTED_SERVER_H

/*
 * For tests only: an HTTP server that takes one request per connection, checks what it must and
 * must not hold, and answers by a script, one step a request.
 */

#include <stddef.h>

struct server_step {
	const char *begins; /* the request line begins so; "$PORT" is the server's port here ... */
	const char *holds; /* ... and in a line of the request's head, or NULL */
	const char *lacks; /* this is nowhere in the head, or NULL */
	const char *reply; /* sent as it is, but for "$PORT" */
	const void *body; /* sent after it */
	size_t body_len;
	unsigned trickle_ms; /* between two bytes of the body */
	unsigned hold_ms; /* then, before closing */
	const char *sent; /* the request's body is this, or NULL: anything */
};

struct server;

struct server *server_start(const struct server_step *steps, size_t count);
int server_port(const struct server *server);
/* What differed from the script, "" nothing; the server is gone afterwards. Valid until the next.
 */
const char *server_end(struct server *server);

#endif
