/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HELPER_H
#define NET_HELPER_H

/*
 * What `linzer run` and the keeper say to each other: packets of a
 * SOCK_SEQPACKET socketpair, whose one end is the keeper's descriptor 3.
 *
 *   run -> keeper   NET_START, then at once NET_POLICY
 *   keeper -> run   NET_STARTED with the tap's descriptor (SCM_RIGHTS; IFF_TAP |
 *                   IFF_NO_PI | IFF_VNET_HDR), or NET_FAILED with a text
 *   keeper -> run   NET_LEASED each time the guest is seen to use an address (by
 *                   DHCP; on a bridge by ARP, too)
 *   run -> keeper   NET_POLICY, answered by NET_CHANGED, or by NET_FAILED when the
 *                   old policy stays; NET_COUNT, answered by NET_COUNTED
 *
 * When either end closes, the keeper takes the tap, route and filter away and
 * ends. What a packet does not use is zero.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "net/policy.h"

struct error;

enum net_message_kind {
	NET_START = 1,
	NET_POLICY,
	NET_COUNT,
	NET_STARTED,
	NET_FAILED,
	NET_LEASED,
	NET_CHANGED,
	NET_COUNTED,
	NET_KIND_MAX
};

enum {
	NET_MAGIC = 0x4c5a4e32,
	NET_TEXT_MAX = 260, /* no padding behind it */
	NET_NAME_MAX = 16,
	NET_EXPOSED_MAX = 64,
	NET_NAMES_SIZE_MAX = 8 * 1024, /* of all names, with terminators, in NET_POLICY */
	NET_POLICY_SIZE_MAX = 16 + POLICY_RULES_MAX * sizeof(struct policy_rule) +
			      NET_NAMES_SIZE_MAX, /* fits the default of wmem */
};

/* A TCP port of the host that leads to one of the guest's; host byte order. */
struct net_exposed {
	uint16_t host, guest;
};

struct net_start {
	uint32_t magic;
	uint32_t kind;
	uint8_t mode; /* enum net_mode */
	uint8_t fixed; /* 1: the wanted address, or none */
	uint8_t mac[6];
	struct in_addr wanted; /* the address it had before, 0 for any; BRIDGED: 0 */
	uint32_t exposed_count;
	char interface[NET_NAME_MAX]; /* BRIDGED: whose bridge or LAN, terminated */
	struct net_exposed exposed[NET_EXPOSED_MAX];
};

/* Followed by the rules, then the names, each with its terminator, and by nothing else. */
struct net_policy {
	uint32_t magic;
	uint32_t kind;
	uint16_t rule_count, name_count;
	uint16_t names_size; /* bytes */
	uint8_t names_only;
	uint8_t reserved;
};

/* Packets that were dropped: by the gate (not the guest's own MAC or address, not ARP or IPv4,
 * floods of DHCP and DNS), and by the policy, by direction of the flow. */
struct net_drops {
	uint64_t gate, out, in;
};

/* NET_COUNT, and all that the keeper says. */
struct net_message {
	uint32_t magic;
	uint32_t kind;
	struct net_drops drops; /* COUNTED */
	uint8_t mac[6];
	uint8_t isolated; /* STARTED: 1: the host cannot dial the guest's address */
	uint8_t reserved;
	struct in_addr address; /* STARTED (0 on a bridge), LEASED: the guest's */
	struct in_addr gateway;
	uint32_t prefix; /* bits */
	char interface[NET_NAME_MAX]; /* STARTED: the tap's name */
	char neighbours[NET_NAME_MAX]; /* ... and whose neighbour the guest is for the host: the
					* tap; BRIDGED: the bridge, or the host's macvlan */
	char text[NET_TEXT_MAX]; /* FAILED: one line for the user */
};

/* The caller's side (used by run/). */
struct net_link {
	int sock; /* poll it for reading; end of file: the network is gone */
	int watch; /* the keeper's pidfd; 0: none */
	pid_t keeper; /* a child of ours; 0: it is not */
	struct in_addr leased; /* heard by net_link_adopt(); 0: nothing was */
};
#define NET_LINK_INIT      \
	{                  \
		.sock = -1 \
	}

/*
 * Start the helper (program: $LINZER_NET if set and not running with more
 * privilege than the caller, else libexec, else beside our own executable; where
 * the caller may not execute it, the copy that `make install-caps` left) and get a tap. Of @start
 * magic and kind are filled in. @started: its answer; *tap_fd is the caller's. Waits at most 20 s.
 */
int net_link_start(struct net_link *link, const struct net_start *start,
		   const struct policy *policy, struct net_message *started, int *tap_fd,
		   struct error *err) must_use_;
/* Ask for another policy, or for the counters: NET_CHANGED, NET_FAILED or NET_COUNTED follows. */
int net_link_set_policy(struct net_link *link, const struct policy *policy,
			struct error *err) must_use_;
int net_link_count(struct net_link *link, struct error *err) must_use_;
/*
 * Read one message, not blocking. NET_FAILED is one like others here.
 * Return: 1 read; 0 nothing now; -1 with err: gone or malformed.
 */
int net_link_receive(struct net_link *link, struct net_message *message,
		     struct error *err) must_use_;
/*
 * The link, whose socket and pidfd another process gave us, is ours now: put @policy in force, and
 * wait for that (at most 20 s). Nobody may have asked the keeper for anything that it has yet to
 * answer. What it says meanwhile of the guest's address is in .leased. E_FAILED where the keeper
 * refuses it, with its words.
 */
int net_link_adopt(struct net_link *link, const struct policy *policy, struct error *err) must_use_;
/* Close, and wait (at most 5 s) until all is torn down. */
void net_link_stop(struct net_link *link);
/* Close: somebody else has the socket, too, and the network stays. */
void net_link_forget(struct net_link *link);

#endif
