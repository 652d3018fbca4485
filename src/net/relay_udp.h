/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RELAY_UDP_H
#define NET_RELAY_UDP_H

/*
 * DNS over UDP: each query of the guest goes, with a number and a port of its
 * own, to one of the host's resolvers, and to the next one when that refuses
 * or is silent. A bounded table; what does not fit is dropped, the guest asks
 * again. Names that the policy does not allow are refused here.
 */

#include <netinet/in.h>
#include <stdint.h>

#include "net/dns.h"
#include "net/names.h"

enum { UDP_QUERIES_MAX = 64 };

struct udp_query {
	int fd; /* to the resolver; -1: this place is free */
	unsigned tries;
	uint64_t deadline; /* ms */
	struct sockaddr_in client;
	uint16_t client_id, id;
	uint16_t len, question; /* bytes of query, and of its checked part */
	uint8_t query[DNS_QUERY_MAX];
};

struct udp_relay {
	int keeper, sock;
	struct names *names; /* borrowed */
	struct udp_query queries[UDP_QUERIES_MAX];
};

void udp_relay_init(struct udp_relay *relay, int keeper, int sock, struct names *names);
/* The guest sent something. */
void udp_relay_take(struct udp_relay *relay);
/* The resolver of place @i did. */
void udp_relay_answer(struct udp_relay *relay, unsigned i);
/* Give up on what waited too long. Return: is anything waiting? */
bool udp_relay_tick(struct udp_relay *relay);

#endif
