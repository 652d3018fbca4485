/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/neighbour.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>

enum { LINE_MAX_BYTES = 256 };

bool neighbour_match(const char *line, struct mac mac, const char *interface,
		     struct in_addr *address)
{
	char ip[INET_ADDRSTRLEN];
	char hardware[MAC_TEXT];
	char device[IF_NAMESIZE];
	unsigned type;
	unsigned flags;
	struct mac found;

	if (sscanf(line, "%15s 0x%x 0x%x %17s %*s %15s", ip, &type, &flags, hardware, device) != 5)
		return false;
	return type == ARPHRD_ETHER && (flags & ATF_COM) && mac_parse(hardware, &found) == 0 &&
	       mac_equal(found, mac) && (!*interface || !strcmp(device, interface)) &&
	       inet_pton(AF_INET, ip, address) == 1;
}

bool neighbour_find(struct mac mac, const char *interface, struct in_addr *address)
{
	FILE *table = fopen("/proc/net/arp", "re");
	char line[LINE_MAX_BYTES];
	bool found = false;

	while (table && !found && fgets(line, sizeof(line), table))
		found = neighbour_match(line, mac, interface, address);
	if (table)
		(void)fclose(table);
	return found;
}
