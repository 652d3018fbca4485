/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CARD_H
#define NET_CARD_H

/*
 * One card of a VM as the keeper sees it: routed (net/network.h) or on the
 * host's LAN (net/bridged.h), by the mode of the request.
 */

#include "net/bridged.h"
#include "net/network.h"
#include "net/talker.h"

struct card {
	bool bridged; /* which of the two it is */
	struct network routed;
	struct bridged lan;
};
#define CARD_INIT                                           \
	{                                                   \
		.routed = NETWORK_INIT, .lan = BRIDGED_INIT \
	}

/* Make what @start asks for; takes @policy's content over. After a failure card_down(). */
int card_up(struct card *card, const struct net_conf *conf, const struct net_start *start,
	    struct policy *policy, struct error *err) must_use_;
int card_down(struct card *card, struct error *err) must_use_;
/* Close our copies of the talker's sockets. */
void card_close_sockets(struct card *card);

int card_tap(const struct card *card); /* descriptor, the card's */
int card_events(const struct card *card); /* ... of the filter: readable, card_look_after() */
int card_look_after(struct card *card, struct error *err) must_use_;
/* Address, gateway, prefix, MAC, interface into an answer. */
void card_describe(const struct card *card, struct net_message *m);
/* The talker's sockets and what it is to know of the card. */
void card_set_up_talker(const struct card *card, struct talker_setup *setup);
/* The names that the policy of now has. */
const struct policy *card_policy(const struct card *card);
/* As network_set_policy(): takes @policy's content over. */
int card_set_policy(struct card *card, struct policy *policy, struct error *err) must_use_;
/* Then, open flows that it would not open: a failure leaves no network that can be trusted. */
int card_cut_flows(struct card *card, struct error *err) must_use_;
int card_count(const struct card *card, struct net_drops *drops, struct error *err) must_use_;
/* The talker saw the guest use @address. Return: 1 `run` is to know; 0 not; or error. */
int card_learn(struct card *card, struct in_addr address, bool by_dhcp,
	       struct error *err) must_use_;

#endif
