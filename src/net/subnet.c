/* SPDX-License-Identifier: Apache-2.0 */
#include "net/subnet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

static uint32_t host_mask(unsigned prefix)
{
	return UINT32_MAX >> prefix;
}

/* "This network", loopback, multicast and above can be nobody's subnet. */
static bool is_usable(uint32_t network)
{
	uint32_t first = network >> 24;

	return first != 0 && first != 127 && first < 224;
}

int subnet_parse(const char *text, struct subnet *subnet, struct error *err)
{
	const char *slash = strchr(text, '/');
	char dotted[INET_ADDRSTRLEN];
	struct in_addr address;
	uint64_t prefix;
	uint32_t network;

	if (!slash || (size_t)(slash - text) >= sizeof(dotted))
		return error_set(err, E_INVALID, "'%s' is not a subnet like 192.168.64.0/24", text);
	memcpy(dotted, text, (size_t)(slash - text));
	dotted[slash - text] = '\0';
	if (inet_pton(AF_INET, dotted, &address) != 1 || str_to_u64(slash + 1, 32, &prefix) < 0)
		return error_set(err, E_INVALID, "'%s' is not a subnet like 192.168.64.0/24", text);
	if (prefix < SUBNET_PREFIX_MIN || prefix > SUBNET_PREFIX_MAX)
		return error_set(err, E_INVALID, "a subnet must be between /%d and /%d",
				 SUBNET_PREFIX_MIN, SUBNET_PREFIX_MAX);
	network = ntohl(address.s_addr);
	if ((network & host_mask((unsigned)prefix)) || !is_usable(network))
		return error_set(err, E_INVALID, "'%s' is not the address of a subnet", text);
	*subnet = (struct subnet){ .network = network, .prefix = (unsigned)prefix };
	return 0;
}

struct in_addr subnet_gateway(const struct subnet *subnet)
{
	return (struct in_addr){ htonl(subnet->network + 1) };
}

uint32_t subnet_guests(const struct subnet *subnet)
{
	return host_mask(subnet->prefix) - 2;
}

bool subnet_has_guest(const struct subnet *subnet, struct in_addr address)
{
	uint32_t offset = ntohl(address.s_addr) - subnet->network;

	return offset >= 2 && offset - 2 < subnet_guests(subnet);
}

struct in_addr subnet_guest(const struct subnet *subnet, uint32_t n)
{
	return (struct in_addr){ htonl(subnet->network + 2 + n % subnet_guests(subnet)) };
}

/* FNV-1a: spreads neighbouring MACs, nothing more is needed. */
uint32_t subnet_start(const uint8_t mac[6])
{
	uint32_t hash = 2166136261U;

	for (int i = 0; i < 6; i++)
		hash = (uint32_t)((uint64_t)(hash ^ mac[i]) * 16777619U);
	return hash;
}

void subnet_interface(struct in_addr address, char name[SUBNET_NAME_SIZE])
{
	(void)snprintf(name, SUBNET_NAME_SIZE, "lz%08x", ntohl(address.s_addr));
}

bool subnet_interface_address(const char *name, struct in_addr *address)
{
	char again[SUBNET_NAME_SIZE];

	if (!str_starts(name, "lz"))
		return false;
	/* whatever strtoul() takes and we do not write that way is not ours */
	address->s_addr = htonl((uint32_t)strtoul(name + 2, NULL, 16));
	subnet_interface(*address, again);
	return strcmp(name, again) == 0;
}
