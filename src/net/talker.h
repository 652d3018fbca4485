/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TALKER_H
#define NET_TALKER_H

/*
 * The talker: the unprivileged process that reads what the guest sends to the
 * host's DHCP and DNS. It lives in a sandbox (net/sandbox.h) and has only the
 * sockets below. Of the keeper it may ask few things.
 */

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

enum talker_request_kind {
	TALKER_READY, /* once, first: in its sandbox; no answer */
	TALKER_LEASED, /* the guest took its address; no answer */
	/* a new socket connected to resolver number `number` (modulo their count):
	 * the answer is one byte, and the descriptor if that byte is 1 */
	TALKER_WANTS_UDP,
	TALKER_WANTS_TCP, /* ... still connecting */
};

struct talker_request {
	uint8_t kind;
	uint8_t number;
};

struct talker_setup {
	pid_t keeper_pid;
	int keeper; /* seqpacket socket to the keeper */
	int dhcp; /* packet socket on the tap */
	int dns_udp, dns_tcp; /* bound to the tap */
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
