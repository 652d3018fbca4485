/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETFILTER_H
#define NET_NETFILTER_H

/*
 * A socket to the kernel's packet filter and its table of connections
 * (nfnetlink), kept open: closing one waits until the kernel has freed what the last
 * transaction removed, some 10 ms.
 */

#include <libmnl/libmnl.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

struct netfilter {
	struct mnl_socket *socket;
	uint32_t sequence; /* of the last request */
};
#define NETFILTER_INIT         \
	{                      \
		.socket = NULL \
	}

/* Once opened, opening it again does nothing. */
int netfilter_open(struct netfilter *nf, struct error *err) must_use_;
void netfilter_close(struct netfilter *nf);

/*
 * Begin a request of @type (its subsystem in the upper byte) in @bytes, for the address
 * @family. Room for attributes is the caller's to know.
 */
struct nlmsghdr *netfilter_begin(struct netfilter *nf, void *bytes, uint16_t type, uint16_t flags,
				 uint8_t family) must_use_;
/*
 * Send @len @bytes of requests, and give each message of the answer to the last of them to @each
 * (NULL: none is expected) with @arg. Return: 0, or -errno as the kernel said.
 */
int netfilter_talk(struct netfilter *nf, const void *bytes, size_t len, mnl_cb_t each,
		   void *arg) must_use_;
/*
 * Send @len @bytes of requests, of which the last has NLM_F_ACK. That one of them fails with
 * @forgiven (-errno) is no failure. Return: 0, or -errno of one that failed otherwise.
 */
int netfilter_order(struct netfilter *nf, const void *bytes, size_t len, int forgiven) must_use_;

#endif
