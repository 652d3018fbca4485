/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_DIAL_H
#define AGENT_DIAL_H

/*
 * Connecting to an agent that listens by itself, as the stock one does on its guest's vsock: not
 * blocking, and again and again, since a guest that boots listens when it gets there.
 */

#include <sys/socket.h>
#include <uv.h>

struct dial;

struct dial_address {
	struct sockaddr_storage name; /* of a stream socket, of any family */
	socklen_t len; /* 0: there is nobody to be dialled */
};

enum { DIAL_RETRY_MS = 500 };

/*
 * Dial @to, DIAL_RETRY_MS after each failure again. @on_connected runs inside the loop, once: @fd
 * is the owner's, connected and non-blocking, and the dial is over (invalid).
 */
struct dial *dial_start(uv_loop_t *loop, const struct dial_address *to,
			void (*on_connected)(void *owner, int fd), void *owner);
/* Give up, without a word; its memory goes when the loop has run. NULL is allowed. */
void dial_stop(struct dial *dial);

#endif
