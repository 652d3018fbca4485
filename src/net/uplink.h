/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_UPLINK_H
#define NET_UPLINK_H

/*
 * Forwarding on the host's other interfaces. The kernel asks the interface
 * where a packet came in, so answers to guests need it there; the host's
 * global switch is never touched. Where we turn an interface's switch on, the
 * filter's set `opened` first gets its name: packets from there to anything
 * but a guest are dropped, as they were before.
 */

#include "net/rtnl.h"

struct error;
struct str;

/* Those of @links (not ours, not loopback) that do not forward yet. */
void uplink_find_closed(const struct rtnl_links *links, struct strings *closed);
/* Turn forwarding on (off) for each name; one that has gone is no error. */
int uplink_open(const struct strings *names, struct error *err) must_use_;
void uplink_restore(const struct strings *names);

#endif
