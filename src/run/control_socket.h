/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_CONTROL_SOCKET_H
#define RUN_CONTROL_SOCKET_H

/*
 * The socket of --net-softnet-control-fd in `run`'s loop. The requests of one peer are done one
 * after the other; no set is answered before the keeper has said that the filter is another. When
 * the peer closes, the last policy stays.
 */

#include <stdbool.h>
#include <uv.h>

#include "run/control.h"
#include "run/network.h"

struct control_socket {
	int fd; /* -1: none, or closed by the peer; owned */
	uv_poll_t poll;
	struct network *network;
	struct control control;
	struct control_request request; /* that waits for the keeper */
	bool waiting;
	bool serving; /* requests are being taken */
	bool ended; /* the peer sends nothing any more */
	bool revised;
	int64_t revision;
};
#define CONTROL_SOCKET_INIT                                                        \
	{                                                                          \
		.fd = -1, .control = CONTROL_INIT, .request = CONTROL_REQUEST_INIT \
	}

/* Serve @fd, from net_control_check(); it is taken over. */
int control_socket_start(struct control_socket *socket, uv_loop_t *loop, struct network *network,
			 int fd, struct error *err) must_use_;
/* After the loop has closed its handles. */
void control_socket_release(struct control_socket *socket);

#endif
