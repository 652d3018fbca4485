/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NETWORK_ADDRESS_H
#define NET_NETWORK_ADDRESS_H

/* Which address of the subnet a guest gets. The lock (network_lock()) is held. */

#include "net/network.h"

/*
 * Choose net->guest.address: the one that @start wants if it is free, or else,
 * unless it must be that one, the first free one from where the MAC points to, so that a VM that
 * comes again mostly has the same. @links are all of the host.
 * Return: 0; -EADDRINUSE where the host uses the subnet itself or another VM has the address;
 * -EADDRNOTAVAIL where it is not one for VMs or none is left; or error.
 */
int network_choose_address(struct network *net, const struct rtnl_links *links,
			   const struct subnet *subnet, const struct net_start *start,
			   struct error *err) must_use_;

#endif
