/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DHCP_H
#define NET_DHCP_H

/*
 * A DHCP server (RFC 2131) for one client and one address, without I/O, state
 * or file: the address belongs to the guest as long as it runs, whatever the
 * guest says.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum {
	DHCP_FRAME_MAX = 1024, /* a reply */
	/* seconds; half of it later the guest asks again and sees what changed */
	DHCP_LEASE_S = 3600,
};

struct dhcp {
	uint8_t mac[6]; /* the guest's: both Ethernet source and chaddr */
	uint8_t host_mac[6];
	struct in_addr address; /* the guest's */
	struct in_addr host; /* server, router and DNS */
	unsigned prefix;
	uint16_t mtu;
};

/*
 * Answer one Ethernet frame of the guest's. *leased becomes true when the
 * answer gives the guest its address for use.
 * Return: the length of the frame in @reply, 0 for no answer.
 */
size_t dhcp_answer(const struct dhcp *d, struct slice bytes, uint8_t reply[DHCP_FRAME_MAX],
		   bool *leased) must_use_;

#endif
