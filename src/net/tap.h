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

/*
 * The same for what a bridged card consists of: the host neither answers nor
 * forwards there, and has no IPv6. @host: the macvlan by which the host speaks with the guest.
 */
int tap_configure_bridged(const char *name, bool host, struct error *err) must_use_;
/* Does the host answer ARP only where the address is the interface's own (arp_ignore)? */
bool tap_host_hides_addresses(void);

/* Packets to DHCP's server port that came in by the interface. Return: fd or error. */
int tap_dhcp_socket(unsigned index, struct error *err) must_use_;
/*
 * What shows a bridged guest's address, whatever the filter says of it: ARP and DHCP to the
 * server's port that came in by the interface, and DHCP that goes out to the client's port: so
 * the port tells who spoke. Return: fd or error.
 */
int tap_watch_socket(unsigned index, struct error *err) must_use_;
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
