/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_NEIGHBOUR_H
#define CMD_NEIGHBOUR_H

/* The kernel's IPv4 neighbour table, as /proc/net/arp shows it (proc(5)). */

#include <netinet/in.h>
#include <stdbool.h>

#include "store/config.h"

/* The address of @mac on @interface ("": on any); only entries that the kernel has confirmed. */
bool neighbour_find(struct mac mac, const char *interface, struct in_addr *address);
/*
 * Does this line of the table say so? Its columns: address, hardware type, flags, hardware
 * address, mask, device.
 */
bool neighbour_match(const char *line, struct mac mac, const char *interface,
		     struct in_addr *address);

#endif
