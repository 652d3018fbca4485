/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_NEIGHBOUR_H
#define CMD_NEIGHBOUR_H

/* The kernel's IPv4 neighbour table, by rtnetlink(7): who has which address on which interface. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/str.h"
#include "store/config.h"

/* Whose address is looked for. */
struct neighbour_wanted {
	struct mac mac;
	const char *interface; /* the tap, bridge or macvlan that leads to it; "": there is none */
	struct in_addr known; /* the address that it was seen to use; 0.0.0.0: not yet */
	time_t since; /* when it was started: older entries are of yesterday */
};

/*
 * The address that the table has for it: @known if it is there, else what the kernel has
 * confirmed, or put there, most recently since @since.
 */
bool neighbour_find(const struct neighbour_wanted *wanted, struct in_addr *address);

/* One entry that has a hardware address. */
struct neighbour {
	unsigned interface; /* index */
	struct mac mac;
	struct in_addr address;
	uint64_t age; /* seconds since it was confirmed or changed */
};
/* Parse what follows the header of a RTM_NEWNEIGH message. Return: is it such an entry? */
bool neighbour_parse(struct slice message, struct neighbour *neighbour);
/* Is @a the better answer than @b, which may be NULL? @max_age: in seconds. */
bool neighbour_is_better(const struct neighbour *a, const struct neighbour *b, struct in_addr known,
			 uint64_t max_age);

#endif
