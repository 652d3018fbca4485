/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_SUBNET_H
#define NET_SUBNET_H

/*
 * The pool of addresses: .1 of the subnet is the host's, the others but the
 * first and the last are for guests. An address also names its interface.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

struct subnet {
	uint32_t network; /* host byte order, as the functions below */
	unsigned prefix; /* SUBNET_PREFIX_MIN..MAX */
};

enum { SUBNET_PREFIX_MIN = 16, SUBNET_PREFIX_MAX = 29, SUBNET_NAME_SIZE = 16 };

/* Parse "192.168.64.0/24". Return: 0 or -E_INVALID with the reason. */
int subnet_parse(const char *text, struct subnet *subnet, struct error *err) must_use_;
struct in_addr subnet_gateway(const struct subnet *subnet);
/* Is it an address that a guest may have? */
bool subnet_has_guest(const struct subnet *subnet, struct in_addr address);
/* How many guests there can be. */
uint32_t subnet_guests(const struct subnet *subnet);
/* Guest address number @n modulo their count. */
struct in_addr subnet_guest(const struct subnet *subnet, uint32_t n);
/* Where to begin the search for @mac: the same MAC begins at the same number. */
uint32_t subnet_start(const uint8_t mac[6]);

/* The interface of the guest with @address: "lz" and eight hex digits. */
void subnet_interface(struct in_addr address, char name[SUBNET_NAME_SIZE]);
/* The address in such a name. Return: false where it is not one of ours. */
bool subnet_interface_address(const char *name, struct in_addr *address);

#endif
