/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_ARP_PROBE_H
#define NET_ARP_PROBE_H

/*
 * Does a machine of a LAN have an address? An address probe (RFC 5227) says so,
 * whatever the host's neighbour table remembers.
 */

#include <netinet/in.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

/* The socket for probes at an interface; needs CAP_NET_RAW, asking later does not. Return: fd or
 * error. */
int arp_probe_open(unsigned index, struct error *err) must_use_;
/*
 * Ask from @index by the socket, and wait for an answer (at most 150 ms). One by @but, a MAC
 * address, is none. Return: 1 somebody has @address; 0 nobody answers; or error.
 */
int arp_probe(int fd, unsigned index, struct in_addr address, const uint8_t but[6],
	      struct error *err) must_use_;

#endif
