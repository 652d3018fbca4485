/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/resolvers.h"

enum { DNS_PORT = 53 };

static bool parse_address(const char *text, struct sockaddr_storage *to)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(DNS_PORT) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT) };

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		memcpy(to, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
		memcpy(to, &v6, sizeof(v6));
	else
		return false;
	return true;
}

/* "nameserver ADDRESS" at the line's begin; what follows is not looked at (resolv.conf(5)). */
static void parse_line(const char *line, struct resolvers *r)
{
	char text[INET6_ADDRSTRLEN + 1];

	if (r->count == RESOLVERS_MAX || strncmp(line, "nameserver", 10) != 0 ||
	    sscanf(line + 10, "%*1[ \t]%46s", text) != 1)
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
	if (r->count == 0 && parse_address("127.0.0.1", &r->items[0]))
		r->count = 1;
}
