/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETWORK_H
#define NET_NETWORK_H

/*
 * The network of one guest: tap, address, route, filter, sockets. Made and
 * unmade by the keeper.
 */

#include "net/conf.h"
#include "net/rtnl.h"
#include "net/rules.h"

struct network {
	struct rules_guest guest; /* name, address, gateway, MAC, ports */
	struct rtnl nl;
	unsigned index; /* 0 before the tap is there */
	uint32_t mtu;
	uint8_t host_mac[6]; /* the tap's own */
	bool filtered; /* its elements may be in the filter */
	struct strings opened; /* interfaces whose forwarding this keeper turned on */
	int events; /* of the filter */
	int tap; /* held to the end: nobody else can have its name before we cleaned up */
	int dhcp; /* packet socket */
	int dns_udp, dns_tcp;
};
#define NETWORK_INIT                                                                      \
	{                                                                                 \
		.nl = RTNL_INIT, .opened = VEC_INIT, .events = -1, .tap = -1, .dhcp = -1, \
		.dns_udp = -1, .dns_tcp = -1                                              \
	}

/*
 * Make it all: an address of @conf's subnet is claimed (@wanted if it is
 * free), what killed keepers left is swept, the tap is up. After a failure
 * network_down() removes what was made.
 */
int network_up(struct network *net, const struct net_conf *conf, const uint8_t mac[6],
	       struct in_addr wanted, struct error *err) must_use_;
/* Close our copies of the talker's sockets. */
void network_close_sockets(struct network *net);
/*
 * Something happened in the filter (net->events is readable). Where it was
 * somebody who removed a table of ours, the tap goes down, the guest's rules
 * are put back, and the tap goes up again. After a failure it stays down.
 */
int network_look_after(struct network *net, struct error *err) must_use_;
/* Remove it all, and with the last guest the skeleton; closes what is open. */
int network_down(struct network *net, struct error *err) must_use_;

#endif
