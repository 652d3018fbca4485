/* SPDX-License-Identifier: Apache-2.0 */
#include "net/network_address.h"

#include <arpa/inet.h>
#include <errno.h>

#include "base/error.h"

static bool is_ours(const struct rtnl_links *links, unsigned index)
{
	for (size_t i = 0; i < links->len; i++)
		if (links->items[i].index == index)
			return links->items[i].group == RULES_GROUP;
	return false;
}

static int conflict(const struct subnet *subnet, struct error *err)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr network = { htonl(subnet->network) };

	(void)inet_ntop(AF_INET, &network, text, sizeof(text));
	return error_set(
		err, EADDRINUSE,
		"the subnet %s/%u is in use on this host: set another one in '" NET_CONF_PATH "'",
		text, subnet->prefix);
}

/* Does the host itself reach a part of the subnet otherwise than by our taps? */
static int check_free(struct network *net, const struct rtnl_links *links,
		      const struct subnet *subnet, struct in_addr address, struct error *err)
{
	struct rtnl_route route;
	int r = rtnl_find_route(&net->nl, address, &route, err);

	if (r <= 0)
		return r;
	if (route.prefix >= subnet->prefix && !is_ours(links, route.index))
		return conflict(subnet, err);
	return 0;
}

/* Return: 1 the address is free; 0 it is taken; or error. */
static int is_free(struct network *net, const struct rtnl_links *links, const struct subnet *subnet,
		   struct in_addr address, struct error *err)
{
	char name[SUBNET_NAME_SIZE];
	struct rtnl_route route;
	int r = rtnl_find_route(&net->nl, address, &route, err);

	if (r < 0)
		return r;
	if (r > 0 && route.prefix == 32)
		return 0;
	if (r > 0 && route.prefix >= subnet->prefix)
		return conflict(subnet, err);
	subnet_interface(address, name);
	return !rtnl_link_named(links, name);
}

/* It cannot have the address that it must have. */
static int refuse_address(const struct subnet *subnet, struct in_addr wanted, struct error *err)
{
	char text[INET_ADDRSTRLEN];

	(void)inet_ntop(AF_INET, &wanted, text, sizeof(text));
	if (subnet_has_guest(subnet, wanted))
		return error_set(err, EADDRINUSE, "the address %s is another VM's", text);
	return error_set(err, EADDRNOTAVAIL,
			 "the address %s is not one of the subnet for VMs (" NET_CONF_PATH ")",
			 text);
}

int network_choose_address(struct network *net, const struct rtnl_links *links,
			   const struct subnet *subnet, const struct net_start *start_with,
			   struct error *err)
{
	struct in_addr wanted = start_with->wanted;
	uint32_t start = subnet_start(net->guest.mac), count = subnet_guests(subnet);
	int r = check_free(net, links, subnet, subnet_gateway(subnet), err);

	if (r < 0)
		return r;
	net->guest.address = wanted;
	r = subnet_has_guest(subnet, wanted) ? is_free(net, links, subnet, wanted, err) : 0;
	if (r == 0 && start_with->fixed)
		return refuse_address(subnet, wanted, err);
	for (uint32_t i = 0; r == 0 && i < count; i++) {
		net->guest.address = subnet_guest(subnet, start % count + i);
		r = is_free(net, links, subnet, net->guest.address, err);
	}
	if (r < 0)
		return r;
	if (r == 0)
		return error_set(err, EADDRNOTAVAIL,
				 "all %u addresses for VMs are taken: set a larger subnet in "
				 "'" NET_CONF_PATH "'",
				 count);
	return 0;
}
