/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/address.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/str.h"

int address_rank(const char *interface)
{
	static const char *const others[] = { "lo",   "docker",	 "br-",	   "veth", "virbr", "cni",
					      "cali", "flannel", "podman", "tun",  "tap",   "wg" };

	for (size_t i = 0; i < array_size(others); i++)
		if (str_starts(interface, others[i]))
			return 0;
	return str_starts(interface, "en") || str_starts(interface, "eth") ? 2 : 1;
}

bool address_is_global(struct in_addr address)
{
	uint32_t a = ntohl(address.s_addr);

	return a >> 24 != 0 && a >> 24 != 127 && a >> 16 != 0xa9fe && a < 0xe0000000;
}

bool address_find(struct in_addr *address)
{
	struct ifaddrs *all;
	int best = 0;

	if (getifaddrs(&all) < 0)
		return false;
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		const struct sockaddr_in *sin = (const void *)i->ifa_addr;

		if (!sin || sin->sin_family != AF_INET || !(i->ifa_flags & IFF_UP) ||
		    !address_is_global(sin->sin_addr) || address_rank(i->ifa_name) <= best)
			continue;
		best = address_rank(i->ifa_name);
		*address = sin->sin_addr;
	}
	freeifaddrs(all);
	return best > 0;
}
