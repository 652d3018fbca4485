/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_BRIDGED_H
#define NET_BRIDGED_H

/*
 * A card on the host's own LAN. On a Linux bridge its tap is a port of the
 * bridge. On a plain interface it is the tap of a macvlan that has the guest's MAC
 * (what a macvtap is, but with a descriptor that needs no device file: users
 * with file capabilities could not open one), with a second macvlan of the host's beside it, by
 * which the host reaches the guest: a /32 route to the address it was seen to
 * use. Made and unmade by the keeper, as net/network.h does it for a routed card.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/conf.h"
#include "net/helper.h"
#include "net/netfilter.h"
#include "net/policy.h"
#include "net/rtnl.h"

struct bridged {
	char name[NET_NAME_MAX]; /* of the tap: "lzb" and a number of ours */
	char parent[NET_NAME_MAX]; /* the bridge or the interface */
	uint8_t mac[6];
	struct in_addr address; /* that the guest was seen to use, 0: none yet */
	struct policy policy;
	struct rtnl nl;
	struct netfilter netfilter;
	uint64_t table; /* the number of its table (nft_table_number()) */
	unsigned index; /* 0 before the tap is there */
	unsigned wire_index, host_index; /* of the macvlans, 0: none (a bridge needs none) */
	unsigned parent_index;
	uint32_t mtu;
	bool filtered; /* its table may be in the filter */
	int filter_events, address_events; /* changes of the filter, and of the host's addresses */
	int events; /* readable when one of them is */
	int tap;
	int probe; /* net/arp_probe.h, at the parent */
	int packets; /* packet socket for the talker: the guest's ARP, DHCP to port 68 */
};
#define BRIDGED_INIT                                                                             \
	{                                                                                        \
		.policy = POLICY_INIT, .nl = RTNL_INIT, .netfilter = NETFILTER_INIT,             \
		.filter_events = -1, .address_events = -1, .events = -1, .tap = -1, .probe = -1, \
		.packets = -1                                                                    \
	}

/*
 * Make it: the filter first, then the card, up last; what killed keepers left is
 * swept. @policy: copied. Interfaces beyond net.conf's "bridge" are EPERM for users. After a
 * failure bridged_down() removes what was made. Errors: E_INVALID for an interface that is not
 * there or cannot be used names those that can.
 */
int bridged_up(struct bridged *card, const struct net_conf *conf, const char *parent,
	       const uint8_t mac[6], const struct policy *policy, struct error *err) must_use_;
/* Close our copies of the talker's sockets. */
void bridged_close_sockets(struct bridged *card);
/*
 * The talker saw the guest use @address. Not taken (no error) where it is no machine's, the
 * host's own, a gateway's or another card's, or (unless @by_dhcp) where somebody on the LAN
 * answers for it, which takes up to 150 ms; a first address is taken, a later one only from DHCP.
 * Taken, it is committed to the gate, and the host's route moves. Return: 1 taken, or what it had;
 * 0 not; or error.
 */
int bridged_learn(struct bridged *card, struct in_addr address, bool by_dhcp,
		  struct error *err) must_use_;
/* Another policy (copied) in one transaction; after a failure the old one stays. */
int bridged_set_policy(struct bridged *card, const struct policy *policy,
		       struct error *err) must_use_;
/* Then, flows that it would not open are forgotten. */
int bridged_cut_flows(struct bridged *card, struct error *err) must_use_;
int bridged_count(const struct bridged *card, struct net_drops *drops, struct error *err) must_use_;
/*
 * card->events is readable. Where somebody removed the card's table, it is taken down, the
 * table is put back, and it goes up again (after a failure it stays down); where the host's
 * addresses changed, its way to the guest is put back.
 */
int bridged_look_after(struct bridged *card, struct error *err) must_use_;
/* The host's interface whose neighbour the guest is: the bridge, or the host's macvlan. */
void bridged_neighbours(const struct bridged *card, char name[NET_NAME_MAX]);
/* Remove it all; closes what is open. */
int bridged_down(struct bridged *card, struct error *err) must_use_;

#endif
