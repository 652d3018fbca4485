/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETWORK_H
#define NET_NETWORK_H

/*
 * The network of one guest with a routed card: tap, address, route, filter,
 * sockets. Made and unmade by the keeper.
 */

#include "net/conf.h"
#include "net/granted.h"
#include "net/helper.h"
#include "net/netfilter.h"
#include "net/rtnl.h"
#include "net/rules.h"

struct network {
	struct rules_guest guest; /* name, address, gateway, MAC, ports */
	struct policy policy;
	struct granted granted; /* by the policy's names */
	struct rtnl nl;
	struct netfilter netfilter;
	unsigned index; /* 0 before the tap is there */
	uint32_t mtu;
	uint8_t host_mac[6]; /* the tap's own */
	bool filtered; /* its elements may be in the filter */
	struct network_tables {
		uint64_t inet, netdev;
	} tables; /* the numbers of those that its elements are in */
	struct strings opened; /* interfaces whose forwarding this keeper turned on */
	int events; /* of the filter */
	int tap; /* held to the end: nobody else can have its name before we cleaned up */
	int dhcp; /* packet socket */
	int dns_udp, dns_tcp;
};
#define NETWORK_INIT                                                                    \
	{                                                                               \
		.policy = POLICY_INIT, .nl = RTNL_INIT, .netfilter = NETFILTER_INIT,    \
		.opened = VEC_INIT, .events = -1, .tap = -1, .dhcp = -1, .dns_udp = -1, \
		.dns_tcp = -1                                                           \
	}

/*
 * Make it all: an address of the mode's subnet is claimed (the wanted one if it
 * is free), what killed keepers left is swept, the tap is up. Takes @policy's content over.
 * After a failure network_down() removes what was made.
 */
int network_up(struct network *net, const struct net_conf *conf, const struct net_start *start,
	       struct policy *policy, struct error *err) must_use_;
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

/*
 * Put @policy (its content is taken over) in place of the one it has, in one
 * transaction; addresses of names that it does not have any more go. After a failure the
 * old one stays. network_cut_flows() is to follow.
 */
int network_set_policy(struct network *net, struct policy *policy, struct error *err) must_use_;
/* Cut the open flows that the policy would not open. After a failure some may be open still. */
int network_cut_flows(struct network *net, struct error *err) must_use_;
/*
 * Name number @name has these addresses: those that are neither the host's nor in
 * closed space are opened before this returns. Return: 1; 0 where the table is full or the
 * filter refused; or error.
 */
int network_grant(struct network *net, size_t name, const struct in_addr *addresses, size_t count,
		  uint32_t ttl, struct error *err) must_use_;
/* Open the socket to the filter, and see what the guest may have of the table of connections. */
int network_open_filter(struct network *net, struct error *err) must_use_;
/* Close granted addresses whose time is over and that no flow uses. Call it at granted_next(). */
int network_expire(struct network *net, struct error *err) must_use_;
int network_count(const struct network *net, struct net_drops *drops, struct error *err) must_use_;

/* The lock that orders all changes (net/network.c). Return: fd or error. */
int network_lock(struct error *err) must_use_;
/* Lock @dir (it is there, and stays the caller's) from now on: each namespace has a lock of its
 * own. */
void network_use_lock(const char *dir);

#endif
