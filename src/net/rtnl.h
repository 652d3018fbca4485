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

struct rtnl_link {
	char name[IFNAMSIZ];
	unsigned index;
	uint32_t group;
	bool loopback;
};
DEFINE_VEC(rtnl_links, struct rtnl_link)

/* Append every interface. */
int rtnl_list_links(struct rtnl *nl, struct rtnl_links *links, struct error *err) must_use_;
int rtnl_set_link(struct rtnl *nl, unsigned index, uint32_t group, const uint8_t mac[6],
		  uint32_t mtu, struct error *err) must_use_;
int rtnl_set_up(struct rtnl *nl, unsigned index, bool up, struct error *err) must_use_;
int rtnl_delete_link(struct rtnl *nl, unsigned index, struct error *err) must_use_;
/* @address/@prefix without a route to that prefix. */
int rtnl_add_address(struct rtnl *nl, unsigned index, struct in_addr address, unsigned prefix,
		     struct error *err) must_use_;
/* @guest/32 over the interface; -EEXIST where anyone has that route already. */
int rtnl_add_route(struct rtnl *nl, unsigned index, struct in_addr guest, struct in_addr source,
		   struct error *err) must_use_;

struct rtnl_route {
	unsigned prefix; /* of the route that matches */
	unsigned index; /* interface, 0 where it has none */
	bool local; /* the address is the host's own */
};
/* The route that a packet to @address takes. Return: 1; 0 where there is none; or error. */
int rtnl_find_route(struct rtnl *nl, struct in_addr address, struct rtnl_route *route,
		    struct error *err) must_use_;

#endif
