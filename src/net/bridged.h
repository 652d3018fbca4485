/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_BRIDGED_H
#define NET_BRIDGED_H

/*
 * A card on the host's own LAN: a tap that is a port of a Linux bridge, or a
 * macvtap on a plain interface, with a macvlan of the host's beside it, by which the
 * host reaches the guest (a /32 route to the address it was seen to use). Made
 * and unmade by the keeper, as net/network.h does it for a routed card.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/conf.h"
#include "net/helper.h"
#include "net/policy.h"
#include "net/rtnl.h"

struct bridged {
	char name[NET_NAME_MAX]; /* of the tap: "lzb" and a number of ours */
	char parent[NET_NAME_MAX]; /* the bridge or the interface */
	uint8_t mac[6];
	struct in_addr address; /* that the guest was seen to use, 0: none yet */
	struct policy policy;
	struct rtnl nl;
	unsigned index; /* 0 before the tap is there */
	unsigned host_index; /* of the host's macvlan, 0: none (a bridge needs none) */
	uint32_t mtu;
	bool filtered; /* its table may be in the filter */
	int tap;
	int packets; /* packet socket for the talker: the guest's ARP, DHCP to port 68 */
};
#define BRIDGED_INIT                                                             \
	{                                                                        \
		.policy = POLICY_INIT, .nl = RTNL_INIT, .tap = -1, .packets = -1 \
	}

/*
 * Make it: the filter first, then the card, up last. @policy: copied. What root
 * does not let users have (net.conf, key "bridge") is EPERM. After a failure bridged_down() removes
 * what was made. Errors: no such interface names those there are.
 */
int bridged_up(struct bridged *card, const struct net_conf *conf, const char *parent,
	       const uint8_t mac[6], const struct policy *policy, struct error *err) must_use_;
/*
 * The talker saw the guest use @address. Refused (no error) where it is the host's own,
 * its gateway's or another's that the host knows there; a first address is taken, a later one only
 * from DHCP (@by_dhcp). Commits it to the gate and moves the host's route. Return: 1 taken, 0 not,
 * or error.
 */
int bridged_learn(struct bridged *card, struct in_addr address, bool by_dhcp,
		  struct error *err) must_use_;
/* Another policy in one transaction; flows that it would not open are cut. */
int bridged_set_policy(struct bridged *card, const struct policy *policy,
		       struct error *err) must_use_;
int bridged_count(struct bridged *card, struct net_drops *drops, struct error *err) must_use_;
/* Remove it all; closes what is open. */
int bridged_down(struct bridged *card, struct error *err) must_use_;

/* Names of interfaces that a card can be bridged to, one line each in @out. */
int bridged_list(struct str *out, struct error *err) must_use_;

#endif
