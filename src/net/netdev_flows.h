/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETDEV_FLOWS_H
#define NET_NETDEV_FLOWS_H

/*
 * The open flows of a bridged card: the elements of its sets (net/rules_bridged.h),
 * read by nf_tables' netlink, which is several times as fast as nft's text.
 */

#include <stdbool.h>
#include <stddef.h>

#include "net/rules_bridged.h"

struct error;
struct netfilter;

/*
 * Append all flows of the card whose table is @table. One that is opened or ends
 * meanwhile may be missing. Errors: E_PROTOCOL for answers of another form.
 */
int netdev_flows_list(struct netfilter *nf, const char *table, struct rules_flows *flows,
		      struct error *err) must_use_;

/*
 * Append what the elements in @bytes, one or more netlink messages of the set of
 * @direction (its pings or its other flows), say. Return: 1 more messages follow; 0 it was the end;
 * or -errno: the kernel's, -EINTR where the list is not whole, -EPROTO.
 */
int netdev_flows_read(const void *bytes, size_t len, enum policy_direction direction, bool pings,
		      struct rules_flows *flows) must_use_;

#endif
