/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_RELAY_H
#define AGENT_RELAY_H

/*
 * The host's side of the agent, inside `run`: clients of control.sock on one
 * side, the guest's agent behind one virtio-serial port on the other. Every
 * client has a framed stream of its own (docs/agent-protocol.md) and sees raw
 * bytes both ways, so that one that stalls delays nobody else.
 *
 * The guest's bytes are hostile. A guest that breaks the protocol loses its
 * session (clients are closed) and is greeted anew a second later; memory is
 * bounded by RELAY_CLIENTS_MAX and the frames' window.
 *
 * Besides, a guest may have a stock agent that listens by itself (on its vsock). Ours is preferred:
 * only while the session is not up is the other one dialled, for each client that comes then.
 *
 * A client that connects before the agent is ready is held, its bytes
 * unread, and closed if the agent does not come within RELAY_HOLD_MS. One that
 * has sent its end is given as long for the rest of the answer, and before that for each piece that
 * the guest takes of what came before its end: who is gone leaves its place to others.
 */

#include <stdbool.h>
#include <uv.h>

struct dial_address;
struct error;
struct relay;

enum { RELAY_CLIENTS_MAX = 256, RELAY_HOLD_MS = 10000 };

enum relay_event {
	RELAY_READY, /* an agent answers */
	RELAY_LOST, /* it answers no more (guest rebooted, protocol broken, ...); may become ready
		       again */
	RELAY_HANGUP, /* the serial port's other end (QEMU) closed; nothing more will come */
};

/*
 * Start relaying on @loop. @serial_fd: connected stream socket that is the
 * port's chardev; @listen_fd: listening AF_UNIX socket. Both become the
 * relay's and are made non-blocking. @stock: where a stock agent would listen; NULL: nowhere.
 * @on_event runs inside the loop and may call relay_close(). Return: 0 and *out, or error with both
 * fds closed.
 */
int relay_new(uv_loop_t *loop, int serial_fd, int listen_fd, const struct dial_address *stock,
	      void (*on_event)(void *arg, enum relay_event event), void *arg, struct relay **out,
	      struct error *err);

/*
 * Close everything, without another event. @relay is invalid from now on; its
 * memory goes when the loop has run the close callbacks. NULL is allowed.
 */
void relay_close(struct relay *relay);

#endif
