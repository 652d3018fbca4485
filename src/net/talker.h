/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TALKER_H
#define NET_TALKER_H

/*
 * The talker: the unprivileged process that reads what the guest sends to the
 * host's DHCP and DNS, and carries what comes to exposed ports. It lives in a
 * sandbox (net/sandbox.h) and has only the sockets below. Of the keeper it may
 * ask few things.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "net/helper.h"

enum talker_request_kind {
	TALKER_READY, /* once, first: in its sandbox; no answer */
	TALKER_LEASED, /* the guest uses `addresses[0]` (not BRIDGED: its own); no answer */
	/* a new socket connected to resolver number `number` (modulo their count):
	 * the answer is one byte, and the descriptor if that byte is 1 */
	TALKER_WANTS_UDP,
	TALKER_WANTS_TCP, /* ... still connecting */
	TALKER_WANTS_GUEST, /* ... to the guest's port of exposed number `number`, still connecting
			     */
	/* name number `name` of list number `list` has these addresses for `ttl`
	 * seconds: the answer is one byte, 1 when the filter knows them */
	TALKER_NAMED,
};

enum { TALKER_ADDRESSES_MAX = 16 };

struct talker_request {
	uint8_t kind;
	uint8_t number;
	uint16_t name; /* of the policy's names */
	uint32_t list; /* of talker_names */
	uint32_t ttl;
	uint32_t count;
	struct in_addr addresses[TALKER_ADDRESSES_MAX];
};

/*
 * What the keeper tells the talker over the socket `names`, first and when the
 * policy changes: the names that the policy allows, each with its terminator.
 */
struct talker_names {
	uint32_t list; /* counts up */
	uint16_t count;
	uint8_t only; /* 1: every other name is refused */
	uint8_t reserved;
	char names[NET_NAMES_SIZE_MAX]; /* sent as long as it is */
};

struct talker_setup {
	pid_t keeper_pid;
	int keeper; /* seqpacket socket to the keeper */
	int names; /* seqpacket socket from the keeper: struct talker_names */
	/*
	 * A packet socket on the tap: DHCP's server port; BRIDGED: ARP of the guest's and DHCP's
	 * client port.
	 */
	int packets;
	int dns_udp, dns_tcp; /* bound to the tap; BRIDGED: -1 */
	int exposed[NET_EXPOSED_MAX]; /* they listen */
	unsigned exposed_count;
	bool bridged;
	struct in_addr address;
	struct in_addr gateway;
	unsigned prefix;
	uint32_t mtu;
	uint8_t mac[6]; /* the guest's */
	uint8_t host_mac[6]; /* the tap's */
};

/* All its life. Closes every other descriptor first. Return: the exit status. */
int talker_main(const struct talker_setup *setup) must_use_;

#endif
