/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_FLOWS_H
#define NET_FLOWS_H

/*
 * The kernel's table of connections (conntrack), as far as one guest is in it:
 * what is open is listed, and what may not be any more is forgotten, so that its
 * next packet is a new flow's, and judged. By ctnetlink.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct netfilter;

/*
 * How a flow was opened. Whoever redirects (the DNS relay's redirection, a host's published
 * ports) makes two of its other end: whom it asked for, and whom it reached, which is what
 * the filter sees.
 */
struct flow {
	struct in_addr source, asked, target;
	uint16_t source_port, asked_port, target_port; /* host byte order; 0 where it has none */
	uint8_t protocol; /* IPPROTO_* */
};

/* Shall this flow be forgotten? */
typedef bool flows_judge(void *arg, const struct flow *flow);

/*
 * Ask @judge about every flow that @guest opened or that reached it, and
 * forget those of which it says so. Return: how many it said so of, or error.
 */
int flows_review(struct netfilter *nf, struct in_addr guest, flows_judge *judge, void *arg,
		 struct error *err) must_use_;
/* How many flows the table has room for (nf_conntrack_max); 0: the kernel does not say. */
int flows_room(struct netfilter *nf, uint32_t *max, struct error *err) must_use_;
/* Forget all of @guest's. */
int flows_forget(struct netfilter *nf, struct in_addr guest, struct error *err) must_use_;

#endif
