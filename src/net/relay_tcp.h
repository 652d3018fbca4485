/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RELAY_TCP_H
#define NET_RELAY_TCP_H

/*
 * DNS over TCP (RFC 7766): a few connections of the guest at once, on each one
 * query after the other. A connection waits for one thing at a time, so that
 * one buffer of fixed size is enough for it, whatever the answer's length: as
 * much of an answer as the buffer holds is judged, then passed on, and then
 * what follows. Names that the policy does not allow are refused here.
 */

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/dns.h"
#include "net/names.h"

enum { TCP_CLIENTS_MAX = 8, TCP_BUFFER = 16 * 1024 };

enum tcp_state {
	TCP_FREE,
	TCP_READ_QUERY, /* from the guest: 2 bytes of length, and the query */
	TCP_SEND_QUERY, /* to the resolver */
	TCP_READ_ANSWER, /* the first piece of it, from the resolver */
	TCP_READ_REST, /* another one */
	TCP_SEND_ANSWER, /* that piece, to the guest */
};

struct tcp_client {
	enum tcp_state state;
	int guest, resolver;
	unsigned tries;
	uint64_t deadline; /* ms */
	size_t len, at; /* bytes in buffer, and how many of them are sent */
	size_t left; /* bytes of the answer beyond the buffer */
	size_t question; /* bytes of it in asked */
	uint8_t asked[DNS_QUESTION_MAX]; /* the query's checked part */
	uint8_t buffer[TCP_BUFFER];
};

struct tcp_relay {
	int keeper, listener;
	struct names *names; /* borrowed */
	uint64_t resting; /* ms: nobody is accepted before; the system has no more to give */
	struct tcp_client clients[TCP_CLIENTS_MAX];
};

void tcp_relay_init(struct tcp_relay *relay, int keeper, int listener, struct names *names);
/* What to poll() the listener for. */
struct pollfd tcp_relay_listener(const struct tcp_relay *relay) must_use_;
/* Somebody connects. */
void tcp_relay_accept(struct tcp_relay *relay);
/* What client @i waits for: the descriptor (-1: nothing) and, in *events, poll()'s events. */
int tcp_relay_wants(const struct tcp_relay *relay, unsigned i, short *events) must_use_;
/* That happened. */
void tcp_relay_go(struct tcp_relay *relay, unsigned i);
/* Give up on who waited too long. Return: is there anything to wait for? */
bool tcp_relay_tick(struct tcp_relay *relay);

#endif
