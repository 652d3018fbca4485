/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RTNL_H
#define NET_RTNL_H

/*
 * Interfaces, addresses and routes of this network namespace, by rtnetlink.
 * Each call is one request and its answer.
 */

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"

struct error;
struct mnl_socket;

struct rtnl {
	struct mnl_socket *socket;
	uint32_t sequence;
};
#define RTNL_INIT              \
	{                      \
		.socket = NULL \
	}

int rtnl_open(struct rtnl *nl, struct error *err) must_use_;
void rtnl_close(struct rtnl *nl);

enum { RTNL_KIND_SIZE = 16, RTNL_ALIAS_SIZE = 64 };

struct rtnl_link {
	char name[IFNAMSIZ];
	char kind[RTNL_KIND_SIZE]; /* "bridge", "macvlan", ...; empty: hardware, or one of old */
	char alias[RTNL_ALIAS_SIZE]; /* what somebody called it; one that is longer is cut */
	unsigned index;
	unsigned master; /* of which it is a port, 0: none */
	uint32_t group;
	uint32_t mtu;
	bool loopback;
	bool ethernet;
	bool up; /* set so; it may have no carrier */
};
DEFINE_VEC(rtnl_links, struct rtnl_link)
/* The link of that name, or NULL; it is @links'. */
const struct rtnl_link *rtnl_link_named(const struct rtnl_links *links, const char *name);

/* Append every interface. */
int rtnl_list_links(struct rtnl *nl, struct rtnl_links *links, struct error *err) must_use_;
int rtnl_set_link(struct rtnl *nl, unsigned index, uint32_t group, const uint8_t mac[6],
		  uint32_t mtu, struct error *err) must_use_;
int rtnl_set_up(struct rtnl *nl, unsigned index, bool up, struct error *err) must_use_;
/* The same, and whatever multicast comes is for it. */
int rtnl_set_up_multicast(struct rtnl *nl, unsigned index, struct error *err) must_use_;
int rtnl_set_alias(struct rtnl *nl, unsigned index, const char *alias, struct error *err) must_use_;
/* A port of the bridge @master. */
int rtnl_set_master(struct rtnl *nl, unsigned index, unsigned master, struct error *err) must_use_;
/* A macvlan of mode bridge on @lower, down. -EBUSY: @lower is used otherwise. */
int rtnl_add_macvlan(struct rtnl *nl, const char *name, unsigned lower, uint32_t group,
		     const uint8_t mac[6], struct error *err) must_use_;
/* Is it the error of a call about an interface that somebody deleted? Its number never comes again.
 */
bool rtnl_is_gone(int r);
int rtnl_delete_link(struct rtnl *nl, unsigned index, struct error *err) must_use_;
/* @address/@prefix without a route to that prefix. */
int rtnl_add_address(struct rtnl *nl, unsigned index, struct in_addr address, unsigned prefix,
		     struct error *err) must_use_;
/* That @address is at @mac; for good, and in place of what was known of it. */
int rtnl_set_neighbour(struct rtnl *nl, unsigned index, struct in_addr address,
		       const uint8_t mac[6], struct error *err) must_use_;
/* @guest/32 over the interface; -EEXIST where anyone has that route already. */
int rtnl_add_route(struct rtnl *nl, unsigned index, struct in_addr guest, struct in_addr source,
		   struct error *err) must_use_;

/* -ESRCH where it is not there. */
int rtnl_delete_route(struct rtnl *nl, unsigned index, struct in_addr guest,
		      struct error *err) must_use_;

struct rtnl_route {
	unsigned prefix; /* of the route that matches */
	unsigned index; /* interface, 0 where it has none */
	bool local; /* the address is the host's own */
};
/* The route that a packet to @address takes. Return: 1; 0 where there is none; or error. */
int rtnl_find_route(struct rtnl *nl, struct in_addr address, struct rtnl_route *route,
		    struct error *err) must_use_;

struct rtnl_address {
	unsigned index; /* of the interface that has it */
	unsigned prefix;
	struct in_addr address;
};
DEFINE_VEC(rtnl_addresses, struct rtnl_address)

/* Append every IPv4 address of the host. */
int rtnl_list_addresses(struct rtnl *nl, struct rtnl_addresses *addresses,
			struct error *err) must_use_;
/* Append the prefixes of all routes that end at the host itself ("local"); index is 0. */
int rtnl_list_local(struct rtnl *nl, struct rtnl_addresses *prefixes, struct error *err) must_use_;
/* A socket that is readable when they changed. What comes there says no more. Return: fd or error.
 */
int rtnl_watch_addresses(struct error *err) must_use_;
/* Append every gateway of its IPv4 routes, and the interface it is at. */
int rtnl_list_gateways(struct rtnl *nl, struct rtnl_addresses *gateways,
		       struct error *err) must_use_;

#endif
