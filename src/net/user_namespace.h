/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_USER_NAMESPACE_H
#define NET_USER_NAMESPACE_H

/*
 * The keeper of a user who has neither root nor file capabilities: it joins the
 * namespaces that the user's VMs share (net/holder.h), where it has every
 * capability, and goes the same way as any keeper.
 */

#include <stdbool.h>
#include <stddef.h>

#include "net/subnet.h"

struct error;

struct user_namespace {
	int holder; /* readable: the network is gone */
	int outside; /* for resolvers_hand_out(); readable: that process is gone */
	char *dir; /* net/runtime_dir.h */
	char *lock_dir; /* for network_up() */
};
#define USER_NAMESPACE_INIT                  \
	{                                    \
		.holder = -1, .outside = -1, \
	}

/* Has this process no privilege of its own? */
bool user_namespace_needed(void);
/*
 * Join, with @pools as the subnets of guests; the holder is started where there
 * is none. The process has one thread. From now on it is uid 0 of the
 * namespace, and files of root's look like somebody else's; what has to be
 * of the host (ports, net.conf) is opened before.
 */
int user_namespace_join(struct user_namespace *ns, const struct subnet *pools, size_t pool_count,
			struct error *err) must_use_;
/* At the very end: the last one ends the namespaces. After a failed join, too. */
void user_namespace_leave(struct user_namespace *ns);

#endif
