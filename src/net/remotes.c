/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernel is asked for the route of an address that may be the host's own or a guest's: one that
 * a local route covers, or a subnet of a tap. All others, which may be tens of thousands, are of
 * the world and cost no question. (A route over a tap to anything but a guest carries nothing: the
 * filter drops what is not for its guest.)
 */

#include "net/remotes.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/error.h"
#include "net/prefix.h"
#include "net/rules.h"

void remotes_release(struct remotes *remotes)
{
	rtnl_links_release(&remotes->links);
	remotes_ranges_release(&remotes->near);
}

static bool is_tap(const struct remotes *remotes, unsigned index)
{
	for (size_t i = 0; i < remotes->links.len; i++)
		if (remotes->links.items[i].index == index)
			return remotes->links.items[i].group == RULES_GROUP;
	return false;
}

static void add_near(struct remotes *remotes, const struct rtnl_address *prefix)
{
	uint32_t mask = ntohl(prefix_mask(prefix->prefix));
	uint32_t first = ntohl(prefix->address.s_addr) & mask;

	remotes_ranges_add(&remotes->near, (struct remotes_range){ first, first | ~mask });
}

static int by_first(const void *a, const void *b)
{
	const struct remotes_range *one = a, *two = b;

	return (one->first > two->first) - (one->first < two->first);
}

/* In order, and none in another: every tap has the same few. */
static void sort(struct remotes_ranges *ranges)
{
	size_t kept = 0;

	if (ranges->len)
		qsort(ranges->items, ranges->len, sizeof(ranges->items[0]), by_first);
	for (size_t i = 0; i < ranges->len; i++) {
		struct remotes_range *last = &ranges->items[kept ? kept - 1 : 0];

		if (!kept || ranges->items[i].first > last->last)
			ranges->items[kept++] = ranges->items[i];
		else if (ranges->items[i].last > last->last)
			last->last = ranges->items[i].last;
	}
	ranges->len = kept;
}

static bool is_near(const struct remotes *remotes, struct in_addr address)
{
	uint32_t a = ntohl(address.s_addr);
	size_t from = 0, to = remotes->near.len; /* the range is one of these, if any */

	while (from < to) {
		size_t middle = from + (to - from) / 2;
		const struct remotes_range *range = &remotes->near.items[middle];

		if (a >= range->first && a <= range->last)
			return true;
		if (a < range->first)
			to = middle;
		else
			from = middle + 1;
	}
	return false;
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
	for (size_t i = 0; i < addresses.len; i++)
		if (is_tap(remotes, addresses.items[i].index))
			add_near(remotes, &addresses.items[i]);
	for (size_t i = 0; i < locals.len; i++)
		add_near(remotes, &locals.items[i]);
	sort(&remotes->near);
	return r;
}

enum policy_remote remotes_kind(struct remotes *remotes, struct in_addr address)
{
	struct error ignored = ERROR_INIT;
	struct rtnl_route route;
	int found;

	if (!remotes->listed)
		remotes->failed = list(remotes, &ignored) < 0;
	remotes->listed = true;
	remotes->broken |= remotes->failed;
	if (remotes->failed || !is_near(remotes, address))
		return POLICY_WORLD;
	found = rtnl_find_route(remotes->nl, address, &route, &ignored);
	remotes->broken |= found < 0;
	if (found > 0 && route.local)
		return POLICY_HOST;
	return found > 0 && is_tap(remotes, route.index) ? POLICY_GUESTS : POLICY_WORLD;
}
