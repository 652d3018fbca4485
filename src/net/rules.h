/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RULES_H
#define NET_RULES_H

/*
 * The filter as text for `nft -f -`, and what changes of it as a batch of messages
 * (net/nft_batch.h): pure functions that append to either.
 *
 * Theory of operation
 *
 * Two tables. "inet linzer" is the skeleton: whatever enters or leaves an
 * interface of our group is dropped unless a set or map names that interface
 * with that address. "netdev linzer" holds one chain for each tap, at ingress,
 * before any protocol of the host sees the frame: the gate that lets through
 * only ARP and IPv4 with the guest's own MAC and address.
 *
 * What belongs to a flow that has passed once (conntrack calls it confirmed) passes, in both
 * directions; "established" would be only what has been answered, and a one-way flow of UDP
 * would pay for the policy with each packet. A new flow is looked up in the maps
 * `leaving` (by the interface where it comes from) and `entering` (where it goes to), which
 * send it to the guest's own chains: the policy. Whom they do not know is dropped, also where
 * somebody emptied them. So a packet costs the same
 * whether two or a thousand guests run, and one without a new flow costs no
 * policy at all. A new TCP flow begins with SYN: one that was cut cannot come back
 * from the middle, in whichever direction.
 *
 * Of guest NAME there are the chains o-NAME and i-NAME (flows that it opens, and
 * that others open to it), od-NAME and id-NAME, which count and drop, o0-NAME and so on for the
 * stages of policies that have more than one, and the set n-NAME of the addresses that the
 * policy's names gave; b-NAME and the set f-NAME bound how many flows it has open.
 *
 * All elements and chains of a guest come and go in one transaction
 * together with its element of the map taps (interface : gateway). So what
 * the keeper of a guest left when it was killed can be told from taps alone.
 *
 * The set opened names the interfaces whose forwarding we turned on: packets
 * that come in there and go to an interface that is not ours were not
 * forwarded before, and are dropped. But not what a bridge carries from port to port:
 * where br_netfilter is loaded (Docker loads it) such packets come by, too, with the bridge
 * as both ends (the set carried).
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/vec.h"
#include "net/nft_batch.h"
#include "net/policy.h"
#include "net/subnet.h"

/* The interface group of all taps ("LZ"). */
enum { RULES_GROUP = 0x4c5a };
/* The table of routed cards, in the family of both inet and netdev. */
#define RULES_TABLE "linzer"
enum { RULES_FAMILY = 1 }; /* NFPROTO_INET; the kernel's header is at odds with the C library's */

/* How much of the host's table of connections guests may have: net/rules_bound.c. */
struct rules_bound {
	uint32_t flows, all_flows; /* open at once, of one guest and of all together */
	uint32_t rate, all_rate; /* TCP flows that begin, in a second */
};

struct rules_guest {
	char name[SUBNET_NAME_SIZE];
	struct in_addr address;
	struct in_addr gateway;
	unsigned prefix; /* of the subnet */
	uint8_t mac[6];
	uint16_t dns_udp, dns_tcp; /* ports that 53 of the gateway is redirected to */
	struct rules_bound bound;
};

/* Tables, sets, chains if absent; the skeleton's rules anew. */
void rules_add_skeleton(struct str *text);
/* Right also where all or a part of this same guest is there. Its policy drops all. */
void rules_add_guest(struct str *text, const struct rules_guest *guest);
/* Right whatever of the skeleton or the guest is there. */
void rules_remove_guest(struct str *text, const struct rules_guest *guest);
/*
 * The policy of the guest @name (net/rules_policy.c): its chains, closed, the empty set of its
 * names' addresses, its elements of the maps; in place of the one it had (the counters go on, and
 * so does the set); and all of it gone, whatever of it is there.
 */
void rules_add_policy(struct str *text, const char *name);
void rules_set_policy(struct nft_batch *batch, const char *name, const struct policy *policy);
void rules_remove_policy(struct str *text, const char *name);
/*
 * What the guest @name may have of a table with room for @max flows (0: without end); its chain
 * and set, the policy's chains are there; both gone, whatever of them is there.
 */
struct rules_bound rules_bound_of(uint32_t max);
void rules_add_bound(struct str *text, const char *name, const struct rules_bound *bound);
void rules_remove_bound(struct str *text, const char *name);
/* An address that one of the policy's names gave comes or goes. */
void rules_add_named(struct nft_batch *batch, const char *name, struct in_addr address);
void rules_remove_named(struct nft_batch *batch, const char *name, struct in_addr address);
/* Remove the guest of which taps said @name : @gateway. */
void rules_sweep_guest(struct str *text, const char *name, struct in_addr gateway);
/* @name: rules_is_plain_name(). */
void rules_add_opened(struct str *text, const char *name);
/* Nothing is opened by us any more: somebody made the host a router. */
void rules_clear_opened(struct str *text);
/* Remove all. */
void rules_drop_tables(struct str *text);

/* May the name stand in a rule? Letters, digits, "_", "-" and "."; not empty. */
bool rules_is_plain_name(const char *name);

struct rules_tap {
	char name[SUBNET_NAME_SIZE];
	struct in_addr gateway;
};
DEFINE_VEC(rules_taps, struct rules_tap)

/* Ask nft for taps (opened): one command alone, nft 1.0.6 cannot do two. */
#define RULES_LIST_TAPS "list map inet linzer taps\n"
#define RULES_LIST_OPENED "list set inet linzer opened\n"
/* Read nft's answer; what is not of the expected form is skipped. */
void rules_read_taps(const char *answer, struct rules_taps *taps);
void rules_read_opened(const char *answer, struct strings *opened);

/* The chains whose counters are a guest's drops; a nft answer's sum of packets. */
enum rules_drop { RULES_DROP_GATE, RULES_DROP_OUT, RULES_DROP_IN };
void rules_list_drops(struct str *text, const char *name, enum rules_drop which);
uint64_t rules_read_drops(const char *answer);

#endif
