/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HELPER_H
#define NET_HELPER_H

/*
 * What `linzer run` and the keeper say to each other: messages of one fixed
 * size over a SOCK_SEQPACKET socketpair, whose one end is the keeper's
 * descriptor 3. `run` sends one NET_START; the keeper answers NET_STARTED
 * with the tap's descriptor (SCM_RIGHTS; IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
 * or NET_FAILED with a text. Later the keeper sends NET_LEASED each time the guest
 * takes its address by DHCP. When either end closes, the keeper takes the tap,
 * route and filter elements away and ends.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

struct error;

enum net_message_kind { NET_START = 1, NET_STARTED, NET_FAILED, NET_LEASED, NET_KIND_MAX };

enum { NET_MAGIC = 0x4c5a4e31, NET_TEXT_MAX = 256, NET_NAME_MAX = 16 };

struct net_message {
	uint32_t magic;
	uint32_t kind;
	uint8_t mac[6];
	uint8_t reserved[2];
	struct in_addr wanted; /* START: the address it had before, 0 for any */
	struct in_addr address; /* STARTED, LEASED: the guest's */
	struct in_addr gateway;
	uint32_t prefix; /* bits */
	char interface[NET_NAME_MAX]; /* STARTED: the tap's name */
	char text[NET_TEXT_MAX]; /* FAILED: one line for the user */
};

/* The caller's side (used by run/). */
struct net_link {
	int sock; /* poll it for reading; end of file: the network is gone */
	pid_t keeper;
};
#define NET_LINK_INIT      \
	{                  \
		.sock = -1 \
	}

/*
 * Start the helper (program: $LINZER_NET if set and not running with more
 * privilege than the caller, else libexec, else beside our own executable) and
 * get a tap. @started: its answer; *tap_fd is the caller's.
 * Waits at most 20 s.
 */
int net_link_start(struct net_link *link, const uint8_t mac[6], struct in_addr wanted,
		   struct net_message *started, int *tap_fd, struct error *err) must_use_;
/* Read one message, not blocking. Return: 1 read; 0 nothing now; -1 with err: gone or malformed. */
int net_link_receive(struct net_link *link, struct net_message *message,
		     struct error *err) must_use_;
/* Close, and wait (at most 5 s) until all is torn down. */
void net_link_stop(struct net_link *link);

#endif
