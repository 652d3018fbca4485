/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/resolvers.h"

enum {
	DNS_PORT = 53,
	ADDRESS_MAX = INET6_ADDRSTRLEN + IF_NAMESIZE,
};
_Static_assert(ADDRESS_MAX == 62, "the width in parse_line() is ADDRESS_MAX");

/* By name or number; 0: there is none. */
static uint32_t find_scope(const char *name)
{
	char *end;
	unsigned long number = strtoul(name, &end, 10);

	return *name >= '0' && *name <= '9' && !*end && number <= UINT32_MAX ? (uint32_t)number
									     : if_nametoindex(name);
}

/* @scope: the interface of a link-local address, or NULL. */
static bool parse_ipv6(const char *text, const char *scope, struct sockaddr_in6 *to)
{
	if (inet_pton(AF_INET6, text, &to->sin6_addr) != 1)
		return false;
	if (!scope)
		return true;
	to->sin6_scope_id = find_scope(scope);
	return IN6_IS_ADDR_LINKLOCAL(&to->sin6_addr) && to->sin6_scope_id != 0;
}

static bool parse_address(char *text, struct sockaddr_storage *to)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(DNS_PORT) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT) };
	char *scope = text, *address = strsep(&scope, "%");

	memset(to, 0, sizeof(*to));
	if (!scope && inet_pton(AF_INET, address, &v4.sin_addr) == 1)
		memcpy(to, &v4, sizeof(v4));
	else if (parse_ipv6(address, scope, &v6))
		memcpy(to, &v6, sizeof(v6));
	else
		return false;
	return true;
}

/* "nameserver ADDRESS" at the line's begin; what follows is not looked at (resolv.conf(5)). */
static void parse_line(const char *line, struct resolvers *r)
{
	char text[ADDRESS_MAX + 1];

	if (r->count == RESOLVERS_MAX || strncmp(line, "nameserver", 10) != 0 ||
	    sscanf(line + 10, "%*1[ \t]%62s", text) != 1)
		return;
	if (parse_address(text, &r->items[r->count]))
		r->count++;
}

void resolvers_parse(struct slice text, struct resolvers *r)
{
	auto_free char *copy = text.len ? xstrndup((const char *)text.ptr, text.len) : NULL;
	char *rest = copy, *line;

	r->count = 0;
	while ((line = strsep(&rest, "\n")))
		parse_line(line, r);
	if (r->count == 0)
		parse_line("nameserver 127.0.0.1", r);
}
