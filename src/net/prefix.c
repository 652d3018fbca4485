/* SPDX-License-Identifier: Apache-2.0 */
#include "net/prefix.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/error.h"

in_addr_t prefix_mask(unsigned bits)
{
	return bits ? htonl(UINT32_MAX << (32 - bits)) : 0;
}

bool prefix_holds(struct in_addr network, unsigned bits, struct in_addr address)
{
	return (address.s_addr & prefix_mask(bits)) == network.s_addr;
}

/* The first @len bytes of @text as a string; false where they do not fit or hold a NUL. */
static bool copy_text(char *copy, size_t size, struct slice text, size_t len)
{
	if (len >= size || (len && memchr(text.ptr, '\0', len)))
		return false;
	if (len)
		memcpy(copy, text.ptr, len);
	copy[len] = '\0';
	return true;
}

bool prefix_is_ipv6(struct slice text)
{
	char copy[INET6_ADDRSTRLEN];
	struct in6_addr address;
	size_t len = 0;

	if (text.len && text.ptr[0] == '[')
		return true;
	while (len < text.len && text.ptr[len] != '/' && text.ptr[len] != '%')
		len++;
	return copy_text(copy, sizeof(copy), text, len) && inet_pton(AF_INET6, copy, &address) == 1;
}

int prefix_parse(struct slice text, struct prefix *prefix, struct error *err)
{
	char copy[sizeof("255.255.255.255/32")];
	struct in_addr address;
	uint64_t bits = 32;
	char *slash;

	if (prefix_is_ipv6(text))
		return error_set(err, E_INVALID, "IPv6 is not supported");
	if (!copy_text(copy, sizeof(copy), text, text.len))
		return error_set(err, E_INVALID, "not an IPv4 address or CIDR");
	slash = strchr(copy, '/');
	if (slash)
		*slash = '\0';
	if (inet_pton(AF_INET, copy, &address) != 1)
		return error_set(err, E_INVALID, "'%s' is not an IPv4 address", copy);
	if (slash && str_to_u64(slash + 1, 32, &bits) < 0)
		return error_set(err, E_INVALID, "'/%s' is not a prefix between /0 and /32",
				 slash + 1);
	address.s_addr &= prefix_mask((unsigned)bits);
	*prefix = (struct prefix){ .address = address, .bits = (uint8_t)bits };
	return 0;
}

struct dotted dotted(struct in_addr address)
{
	struct dotted d = { "0.0.0.0" };

	(void)inet_ntop(AF_INET, &address, d.text, sizeof(d.text));
	return d;
}
