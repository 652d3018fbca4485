/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RULES_BRIDGED_H
#define NET_RULES_BRIDGED_H

/*
 * The filter of one card on the host's LAN as text for `nft -f -`: pure
 * functions that append to a string.
 *
 * Theory of operation
 *
 * A bridged card's frames never reach a protocol of the host, so there is no
 * conntrack and no table "inet" for them: all is done at the hooks of the
 * card's own tap. What the guest sends comes in there (ingress), what it gets
 * goes out there (egress). Each card has a table of its own, named as the
 * tap: it comes and goes in one word, and listing it tells of nobody else.
 *
 *   tap ingress -> gate_out -> flow_out -> rules_out_* -> leave
 *   tap egress  -> gate_in  -> flow_in  -> rules_in_*  -> accept
 *
 * The gate knows the guest's MAC and the address that it was seen to use: as
 * long as there is none, only a DHCP client's packets and ARP probes leave.
 *
 * A flow is known by remote address, protocol and the two ports, and stands
 * in flows_out or flows_in by who opened it (pings by their identifier). A
 * packet of a known flow passes; another must be one that opens a flow, pass
 * every stage of the policy, and find room in the set (no room: dropped). TCP
 * flows have two lives: a short one for what is being opened or closed, and a
 * long one, which only the end that did not open it can give.
 *
 * A policy without rules does not look at flows, but for the TCP packets that
 * open and close them: so that a later policy knows who opened what.
 *
 * On a Linux bridge the tap is a port. On a plain interface a macvlan with
 * the guest's MAC (wire) is the port, frames go from hook to device between
 * it and the tap, and the host itself has a second macvlan (host) that
 * speaks with this guest and nobody else: on the LAN it is not seen.
 */

#include <netinet/in.h>
#include <stdint.h>

#include "base/str.h"
#include "base/vec.h"
#include "net/helper.h"
#include "net/policy.h"

enum {
	RULES_FLOWS_MAX = 16 * 1024, /* for each direction */
	RULES_PINGS_MAX = 1024, /* ... */
	RULES_CARD_DIGITS = 4, /* of the number in its name */
};

struct rules_card {
	char name[NET_NAME_MAX]; /* of the tap, and of the table */
	char wire[NET_NAME_MAX]; /* empty: the tap is a port of a bridge */
	char host[NET_NAME_MAX]; /* empty: there is none */
	uint8_t mac[6];
	struct in_addr address; /* the guest's, 0: not seen yet */
};

/*
 * The whole table, right also where all of it is there already. Its interfaces must be
 * there.
 */
void rules_add_card(struct str *text, const struct rules_card *card, const struct policy *policy);
/* Another address: the flows of the old one are forgotten. */
void rules_set_card_address(struct str *text, const struct rules_card *card);
/* Another policy; flows stay. */
void rules_set_card_policy(struct str *text, const struct rules_card *card,
			   const struct policy *policy);
/* Parts of the two above (net/rules_bridged_flows.c): the chains for packets of known flows; all
 * flows are forgotten. */
void rules_add_known_flows(struct str *text, const struct rules_card *card);
void rules_forget_flows(struct str *text, const struct rules_card *card);
/* Right whether it is there or not. */
void rules_remove_card(struct str *text, const char *name);

/* What the packets of a card's flows are told by. Its direction says in which set it stands. */
struct rules_flow {
	enum policy_direction direction;
	struct in_addr remote;
	uint8_t protocol; /* TCP, UDP, or ICMP: then both ports are the ping's identifier */
	uint16_t guest_port, remote_port;
};
DEFINE_VEC(rules_flows, struct rules_flow)

/* Names of the sets of one direction. */
const char *rules_flow_set(enum policy_direction direction);
const char *rules_ping_set(enum policy_direction direction);
/* Forget them; one that is not there is as well. */
void rules_cut_flows(struct str *text, const struct rules_card *card,
		     const struct rules_flows *flows);

/* "lzb" and a number: append those of nft's answer to "list tables netdev". */
#define RULES_LIST_CARDS "list tables netdev\n"
void rules_read_cards(const char *answer, struct strings *names);
/* Is it such a name? */
bool rules_is_card(const char *name);

/* Ask for the counters, and read nft's answer: what is not there counts 0. */
void rules_list_card_drops(struct str *text, const struct rules_card *card);
void rules_read_card_drops(const char *answer, struct net_drops *drops);

#endif
