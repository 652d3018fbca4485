/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernel is asked for the route of an address that may be the host's own or a guest's: one that
 * a local route covers, or a subnet of a tap. All others, which may be tens of thousands, are of
 * the world and cost no question. (A route over a tap to anything but a guest carries nothing: the
 * filter drops what is not for its guest.)
 */

#include "net/remotes.h"

#include "base/error.h"
#include "net/prefix.h"
#include "net/rules.h"

void remotes_release(struct remotes *remotes)
{
	rtnl_links_release(&remotes->links);
	rtnl_addresses_release(&remotes->near);
}

static bool is_tap(const struct remotes *remotes, unsigned index)
{
	for (size_t i = 0; i < remotes->links.len; i++)
		if (remotes->links.items[i].index == index)
			return remotes->links.items[i].group == RULES_GROUP;
	return false;
}

static bool is_near(const struct remotes *remotes, struct in_addr address, unsigned prefix)
{
	for (size_t i = 0; i < remotes->near.len; i++)
		if (remotes->near.items[i].prefix <= prefix &&
		    prefix_holds(remotes->near.items[i].address, remotes->near.items[i].prefix,
				 address))
			return true;
	return false;
}

static void add_near(struct remotes *remotes, struct rtnl_address prefix)
{
	prefix.address.s_addr &= prefix_mask(prefix.prefix);
	if (!is_near(remotes, prefix.address, prefix.prefix))
		rtnl_addresses_add(&remotes->near, prefix);
}

static int list(struct remotes *remotes, struct error *err)
{
	cleanup_(rtnl_addresses_release) struct rtnl_addresses addresses = VEC_INIT;
	cleanup_(rtnl_addresses_release) struct rtnl_addresses locals = VEC_INIT;
	int r = rtnl_list_links(remotes->nl, &remotes->links, err);

	if (r == 0)
		r = rtnl_list_addresses(remotes->nl, &addresses, err);
	if (r == 0)
		r = rtnl_list_local(remotes->nl, &locals, err);
	/* every tap has the same few, and so is_near() looks at few */
	for (size_t i = 0; i < addresses.len; i++)
		if (is_tap(remotes, addresses.items[i].index))
			add_near(remotes, addresses.items[i]);
	for (size_t i = 0; i < locals.len; i++)
		add_near(remotes, locals.items[i]);
	return r;
}

enum policy_remote remotes_kind(struct remotes *remotes, struct in_addr address)
{
	struct error ignored = ERROR_INIT;
	struct rtnl_route route;
	int found;

	if (!remotes->listed && list(remotes, &ignored) < 0) {
		remotes->broken = true;
		return POLICY_WORLD;
	}
	remotes->listed = true;
	if (!is_near(remotes, address, 32))
		return POLICY_WORLD;
	found = rtnl_find_route(remotes->nl, address, &route, &ignored);
	remotes->broken |= found < 0;
	if (found > 0 && route.local)
		return POLICY_HOST;
	return found > 0 && is_tap(remotes, route.index) ? POLICY_GUESTS : POLICY_WORLD;
}
