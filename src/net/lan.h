/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LAN_H
#define NET_LAN_H

/* The interfaces that a card can be bridged to: Linux bridges and plain Ethernet. */

#include <stdbool.h>

#include "base/str.h"
#include "net/rtnl.h"

/* The interface group of all that bridged cards consist of. */
enum { LAN_GROUP = 0x4c5b };

/*
 * The interface @name among @links. Errors: E_INVALID, with what is wrong with it and the names
 * of those that can be used.
 */
int lan_find(const struct rtnl_links *links, const char *name, const struct rtnl_link **found,
	     struct error *err) must_use_;
bool lan_is_bridge(const struct rtnl_link *link);
#endif
