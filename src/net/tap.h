/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TAP_H
#define NET_TAP_H

/*
 * The tap itself, its settings, and the sockets that are bound to it. All of
 * it needs CAP_NET_ADMIN, the packet socket CAP_NET_RAW.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

/*
 * A new tap with one queue that vanishes with its last descriptor
 * (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR). Return: fd; -EBUSY where an interface
 * of that name exists; or error.
 */
int tap_open(const char *name, struct error *err) must_use_;
/* Forwarding, proxy ARP, no IPv6: before the tap goes up. */
int tap_configure(const char *name, struct error *err) must_use_;

/* Packets to DHCP's server port that came in by the interface. Return: fd or error. */
int tap_dhcp_socket(unsigned index, struct error *err) must_use_;
/*
 * A socket of @type (SOCK_DGRAM, SOCK_STREAM: it listens) that only the
 * tap's side reaches, at @address and a free port. Return: fd or error.
 */
int tap_dns_socket(int type, const char *name, struct in_addr address, uint16_t *port,
		   struct error *err) must_use_;

/* Does the host forward IPv4 as a whole? */
bool tap_host_forwards(void);
/* Does the interface? Return: 1, 0, or error. */
int tap_forwards(const char *name, struct error *err) must_use_;
int tap_set_forwarding(const char *name, bool on, struct error *err);

#endif
