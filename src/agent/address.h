/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_ADDRESS_H
#define AGENT_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>

/*
 * The guest's address for others: a global unicast IPv4 address of an interface that
 * is up; those of network cards (en*, eth*) come before others, and bridges and tunnels that
 * programs in the guest made (docker0, br-*, veth*, ...) do not count. Return: was there one?
 */
bool address_find(struct in_addr *address);

/* 0 another's, 1 any, 2 a network card's name. */
int address_rank(const char *interface);
/* Neither 0/8, loopback, link-local, multicast nor beyond (RFC 6890). */
bool address_is_global(struct in_addr address);

#endif
