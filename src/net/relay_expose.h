/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RELAY_EXPOSE_H
#define NET_RELAY_EXPOSE_H

/*
 * Exposed ports: who connects to one of them gets a connection to the guest's
 * port behind it, and bytes go both ways until both sides have ended. What
 * one side ends, resets or refuses, the other sees.
 *
 * Bytes wait in the sockets alone: they are looked at (MSG_PEEK), sent, and as
 * many as were taken are then removed. So a connection needs no memory here, and a side that
 * does not read stops the other one as it would without us.
 */

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/talker.h"

enum { EXPOSE_CONNECTIONS_MAX = 128 }; /* of all ports together; more wait in the backlog */

enum expose_flow {
	EXPOSE_EMPTY, /* waits for bytes */
	EXPOSE_FULL, /* has bytes, waits until the other side takes them */
	EXPOSE_ENDED, /* the end was passed on */
};

struct expose_connection {
	int world, guest; /* world -1: this place is free */
	bool connecting; /* to the guest */
	uint64_t deadline; /* ms, of connecting */
	enum expose_flow to_guest, to_world;
};

struct expose_relay {
	int keeper;
	int listeners; /* descriptor of the first one; the others follow */
	unsigned count, used; /* listeners, connections */
	uint64_t resting; /* ms: nobody is accepted before; the system has no more to give */
	struct expose_connection connections[EXPOSE_CONNECTIONS_MAX];
};

void expose_relay_init(struct expose_relay *relay, int keeper, int listeners, unsigned count);
/* What to poll() listener @i for. */
struct pollfd expose_relay_listener(const struct expose_relay *relay, unsigned i) must_use_;
/* Somebody connects to it. */
void expose_relay_accept(struct expose_relay *relay, unsigned i);
/* What to poll() connection @i for: the world's side, then the guest's. */
void expose_relay_wants(const struct expose_relay *relay, unsigned i, struct pollfd sides[2]);
/* That happened. */
void expose_relay_go(struct expose_relay *relay, unsigned i, const struct pollfd sides[2]);
/* Give up on guests that do not answer. Return: is there anything to wait for? */
bool expose_relay_tick(struct expose_relay *relay);

#endif
