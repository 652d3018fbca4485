/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LEARN_H
#define NET_LEARN_H

/*
 * Which address a guest on a bridge uses: by its own ARP, or by what a DHCP
 * server of the LAN gave to it. Guest and LAN may both lie; what is seen here
 * is a hint that the keeper judges.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct learnt {
	struct in_addr address; /* of a host: no network, loopback, multicast, ... */
	bool by_dhcp;
};

struct learner {
	uint8_t mac[6]; /* the guest's */
	struct learnt last; /* that was told */
	unsigned tokens;
	uint64_t refilled; /* ms */
};

void learner_init(struct learner *learner, const uint8_t mac[6], uint64_t now);
/* What one Ethernet frame shows, if anything. Without I/O or state. */
bool learn_frame(struct slice frame, const uint8_t mac[6], struct learnt *found) must_use_;
/*
 * The same, but only what the last one did not say already, at most 10 each second.
 * @now: ms. Return: true where the keeper is to be told @found.
 */
bool learner_take(struct learner *learner, struct slice frame, uint64_t now,
		  struct learnt *found) must_use_;

#endif
