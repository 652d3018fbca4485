/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <string.h>

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

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static void parse_line(struct slice line, struct resolvers *r)
{
	static const char key[] = "nameserver";
	char text[INET6_ADDRSTRLEN];
	size_t at = sizeof(key) - 1, len = 0;

	if (line.len <= at || memcmp(line.ptr, key, at) != 0 || !is_blank(line.ptr[at]))
		return;
	while (at < line.len && is_blank(line.ptr[at]))
		at++;
	for (; at < line.len && !is_blank(line.ptr[at]); at++) {
		if (len == sizeof(text) - 1)
			return;
		text[len++] = (char)line.ptr[at];
	}
	text[len] = '\0';
	if (r->count < RESOLVERS_MAX && parse_address(text, &r->items[r->count]))
		r->count++;
}

void resolvers_parse(struct slice text, struct resolvers *r)
{
	r->count = 0;
	while (text.len) {
		const uint8_t *end = memchr(text.ptr, '\n', text.len);
		size_t n = end ? (size_t)(end - text.ptr) : text.len;

		parse_line((struct slice){ text.ptr, n }, r);
		n += end != NULL;
		text = (struct slice){ text.ptr + n, text.len - n };
	}
	if (r->count == 0 && parse_address("127.0.0.1", &r->items[0]))
		r->count = 1;
}
