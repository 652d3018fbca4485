/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HOST_ADDRESSES_H
#define NET_HOST_ADDRESSES_H

/*
 * The host's own addresses, known in a namespace whose uplink is pasta.
 *
 * Theory of operation
 *
 * pasta opens each of the namespace's connections anew on the host, so a guest
 * could reach by any address of the host's what listens there, and no rule on
 * "the host" (net/policy.h) would see it: in the namespace these addresses are
 * as remote as others. So each local route of the host's (its addresses, and
 * prefixes that it takes for its own) becomes a local route of the namespace:
 * "fib daddr type local" holds for them as it does for root's keeper, and
 * packets to them end in the namespace, where nobody listens.
 *
 * A netlink socket stays in the namespace in which it was opened: that of the
 * host is opened before pasta starts, and tells of every change.
 */

#include <netinet/in.h>
#include <stdint.h>

#include "base/vec.h"
#include "net/subnet.h"

struct error;

struct host_route {
	struct in_addr to;
	uint8_t prefix; /* bits */
};
DEFINE_VEC(host_routes, struct host_route)

struct host_addresses {
	int host; /* netlink socket of the host's namespace */
	int here; /* of ours */
	struct host_routes known; /* routes that we made */
	const struct subnet *pools;
	size_t pool_count;
	uint32_t sequence;
};
#define HOST_ADDRESSES_INIT                                \
	{                                                  \
		.host = -1, .here = -1, .known = VEC_INIT, \
	}

/* A socket that reads this namespace's routes and hears of their changes. Return: fd or error. */
int host_addresses_open(struct error *err) must_use_;
/*
 * Close the @pools (they are guests' here: what has no guest is nowhere), then
 * take over the routes of @host (stays the caller's) but those of the pools, which stay
 * the caller's, too.
 */
int host_addresses_begin(struct host_addresses *a, int host, const struct subnet *pools,
			 size_t pool_count, struct error *err) must_use_;
/* @a->host is readable: take over what changed. */
int host_addresses_follow(struct host_addresses *a, struct error *err) must_use_;
void host_addresses_release(struct host_addresses *a);

#endif
