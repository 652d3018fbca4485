/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_REMOTES_H
#define NET_REMOTES_H

/*
 * Which of the three kinds of remotes (net/policy.h) an address is, as the kernel's filter tells
 * it: by where a packet to it goes. For whoever asks about many in a row: what the host has is
 * listed with the first question.
 */

#include "net/policy.h"
#include "net/rtnl.h"

/* Addresses from the first to the last, in host byte order. */
struct remotes_range {
	uint32_t first, last;
};
DEFINE_VEC(remotes_ranges, struct remotes_range)

struct remotes {
	struct rtnl *nl; /* the caller's */
	bool listed, failed;
	bool broken; /* the kernel did not answer a question since the caller cleared this */
	struct rtnl_links links;
	struct remotes_ranges near; /* no other address is the host's or a guest's; in order */
};
#define REMOTES_INIT(netlink)                                        \
	{                                                            \
		.nl = (netlink), .links = VEC_INIT, .near = VEC_INIT \
	}
void remotes_release(struct remotes *remotes);

/* Where the kernel does not answer, broken is set and the answer is worth nothing. */
enum policy_remote remotes_kind(struct remotes *remotes, struct in_addr address);

#endif
