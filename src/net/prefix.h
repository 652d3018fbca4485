/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PREFIX_H
#define NET_PREFIX_H

/* IPv4 prefixes (CIDR) as text, and which addresses they hold. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct error;

struct prefix {
	struct in_addr address; /* network byte order, host bits zero */
	uint8_t bits; /* 0 to 32 */
};

/*
 * Read "10.0.0.0/8", or an address alone as a /32. Host bits are cleared.
 * Errors: E_INVALID with what is wrong, @prefix untouched.
 */
int prefix_parse(struct slice text, struct prefix *prefix, struct error *err) must_use_;
/* Is it an IPv6 address or prefix, in brackets or not? */
bool prefix_is_ipv6(struct slice text);
/* The mask of @bits (at most 32) bits, in network byte order. */
in_addr_t prefix_mask(unsigned bits);
/* Is @address one of the @bits bits long prefix @network? */
bool prefix_holds(struct in_addr network, unsigned bits, struct in_addr address);

/* An address as text, for a format: dotted(address).text. */
struct dotted {
	char text[INET_ADDRSTRLEN];
};
struct dotted dotted(struct in_addr address);

#endif
