/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LEARN_H
#define NET_LEARN_H

/*
 * Which address a guest on a bridge uses: by its own ARP, or by what a DHCP
 * server of the LAN gave to it. Guest and LAN may both lie; what is seen here
 * is a hint that the keeper judges. A DHCPACK counts only where it answers what the guest
 * itself asked last (by its transaction's number, within LEARN_ANSWER_MS, and once): a neighbour
 * that sends one unasked moves nothing.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct learnt {
	struct in_addr address; /* of a host: no network, loopback, multicast, ... */
	bool by_dhcp;
};

/* As long as a client waits between two tries (RFC 2131, 4.1). */
enum { LEARN_ANSWER_MS = 64 * 1000 };

struct learner {
	uint8_t mac[6]; /* the guest's */
	struct learnt last; /* that was told */
	unsigned tokens;
	uint64_t refilled; /* ms */
	uint32_t xid; /* of what the guest asked, as it stands in the packet */
	uint64_t asked_until; /* ms, 0: it waits for no answer */
};

/* What one Ethernet frame shows. */
enum learn_kind {
	LEARN_NOTHING,
	LEARN_ARP, /* the guest uses the address */
	LEARN_ASKED, /* the guest asks for one: DHCPDISCOVER or DHCPREQUEST */
	LEARN_GIVEN, /* DHCPACK for the guest */
};

struct learn_hint {
	struct in_addr address; /* LEARN_ARP, LEARN_GIVEN: of a host */
	uint32_t xid; /* LEARN_ASKED, LEARN_GIVEN */
};

void learner_init(struct learner *learner, const uint8_t mac[6], uint64_t now);
/*
 * Without I/O or state. Frames to port 67 must be the guest's, those to port 68 the LAN's: the
 * socket sees to that (net/tap.h).
 */
enum learn_kind learn_frame(struct slice frame, const uint8_t mac[6], struct learn_hint *hint);
/*
 * What the frame adds to those before it, and only what the last one did not say already, at
 * most 10 each second. @now: ms. Return: true where the keeper is to be told @found.
 */
bool learner_take(struct learner *learner, struct slice frame, uint64_t now,
		  struct learnt *found) must_use_;

#endif
