/* SPDX-License-Identifier: Apache-2.0 */

/* Which address a bridged card's guest has, and the host's way to it. */

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "net/arp_probe.h"
#include "net/bridged_parts.h"
#include "net/doors.h"
#include "net/lan.h"
#include "net/network.h"
#include "net/nft.h"
#include "net/prefix.h"
#include "net/tap.h"

char *bridged_alias(const struct bridged *card, struct in_addr address)
{
	return str_format("%s %s%s%s", card->parent, bridged_mac_text(card->mac).text,
			  address.s_addr ? " " : "", address.s_addr ? dotted(address).text : "");
}

/* The address of the host's by which it speaks with the guest. Return: 1, 0 where it has none, or
 * error. */
static int choose_source(struct bridged *card, struct in_addr *source, struct error *err)
{
	cleanup_(rtnl_addresses_release) struct rtnl_addresses all = VEC_INIT;
	int r = rtnl_list_addresses(&card->nl, &all, err), found = 0;

	for (size_t i = 0; r == 0 && i < all.len; i++) {
		const struct rtnl_address *a = &all.items[i];
		struct in_addr network = { a->address.s_addr & prefix_mask(a->prefix) };
		bool near = prefix_holds(network, a->prefix, card->address);

		if (a->index != card->parent_index || (found && !near))
			continue;
		*source = a->address;
		found = 1;
		if (near)
			break;
	}
	return r < 0 ? r : found;
}

int bridged_add_host_route(struct bridged *card, struct error *err)
{
	struct in_addr source = { 0 };
	int r = card->host_index && card->address.s_addr ? choose_source(card, &source, err) : 0;

	if (r <= 0)
		return r;
	r = rtnl_set_neighbour(&card->nl, card->host_index, card->address, card->mac, err);
	if (r == 0 && tap_host_hides_addresses())
		r = rtnl_add_address(&card->nl, card->host_index, source, 32, err);
	if (r == 0 || r == -EEXIST)
		r = rtnl_add_route(&card->nl, card->host_index, card->address, source, err);
	/* it is there; or somebody else wants the host to go another way */
	return r == -EEXIST ? 0 : r;
}

/* Can a machine of the parent's networks have it? */
static bool is_machine(const struct bridged *card, const struct rtnl_addresses *hosts,
		       struct in_addr address)
{
	uint32_t a = ntohl(address.s_addr), first = a >> 24;

	for (size_t i = 0; i < hosts->len; i++) {
		const struct rtnl_address *h = &hosts->items[i];
		uint32_t rest = h->prefix < 31 ? UINT32_MAX >> h->prefix : 0;

		if (h->address.s_addr == address.s_addr)
			return false;
		if (h->index == card->parent_index && rest &&
		    (ntohl(h->address.s_addr) ^ a) <= rest &&
		    ((a & rest) == 0 || (a & rest) == rest))
			return false;
	}
	return first != 0 && first != 127 && first < 224;
}

/* Does another card on the same parent have it? */
static bool is_of_another(const struct bridged *card, const struct rtnl_links *links,
			  struct in_addr address)
{
	auto_free char *head = str_format("%s ", card->parent);
	auto_free char *tail = str_format(" %s", dotted(address).text);

	for (size_t i = 0; i < links->len; i++) {
		const struct rtnl_link *link = &links->items[i];

		if (link->group == LAN_GROUP && link->index != card->index &&
		    str_starts(link->alias, head) && str_ends(link->alias, tail))
			return true;
	}
	return false;
}

static bool has_address(const struct rtnl_addresses *all, struct in_addr address)
{
	for (size_t i = 0; i < all->len; i++)
		if (all->items[i].address.s_addr == address.s_addr)
			return true;
	return false;
}

/* Return: 1 the guest may have it, as far as the host can tell by itself; 0 not; or error. */
static int may_have(struct bridged *card, struct in_addr address, struct error *err)
{
	cleanup_(rtnl_links_release) struct rtnl_links links = VEC_INIT;
	cleanup_(rtnl_addresses_release) struct rtnl_addresses hosts = VEC_INIT,
							       gateways = VEC_INIT;
	int r = rtnl_list_links(&card->nl, &links, err);

	if (r == 0)
		r = rtnl_list_addresses(&card->nl, &hosts, err);
	if (r == 0)
		r = rtnl_list_gateways(&card->nl, &gateways, err);
	if (r < 0)
		return r;
	return is_machine(card, &hosts, address) && !has_address(&gateways, address) &&
	       !is_of_another(card, &links, address);
}

int bridged_open_doors(const struct bridged *card, int lock, struct error *err)
{
	const struct doors_card doors = {
		.tap = card->name,
		.bridge = card->parent,
		.address = card->address,
	};

	/* what goes between the macvlans is no bridge's */
	return card->wire_index ? 0 : doors_open_card(&doors, lock, err);
}

static int commit_address(struct bridged *card, struct in_addr address, int lock, struct error *err)
{
	auto_free char *alias = bridged_alias(card, address);
	struct in_addr before = card->address;
	struct rules_card rules;
	auto_str text = STR_INIT;
	int r;

	card->address = address;
	rules = bridged_rules_card(card);
	rules_set_card_address(&text, &rules);
	r = nft_run(&text, lock, NULL, err);
	if (r < 0) {
		card->address = before;
		return r;
	}
	r = bridged_open_doors(card, lock, err);
	if (r == 0 && card->host_index && before.s_addr)
		r = rtnl_delete_route(&card->nl, card->host_index, before, err);
	if (r == 0 || r == -ESRCH)
		r = rtnl_set_alias(&card->nl, card->index, alias, err);
	return r < 0 ? r : bridged_add_host_route(card, err);
}

int bridged_learn(struct bridged *card, struct in_addr address, bool by_dhcp, struct error *err)
{
	auto_fd lock = -1;
	int r;

	if (card->address.s_addr == address.s_addr) {
		r = bridged_add_host_route(card, err); /* it goes with the host's own address */
		return r < 0 ? r : 1;
	}
	if (card->address.s_addr && !by_dhcp)
		return 0;
	/* a server that gives it to the guest knows that nobody else has it */
	r = by_dhcp ? 0 : arp_probe(card->probe, card->parent_index, address, card->mac, err);
	if (r != 0)
		return r < 0 ? r : 0;
	lock = network_lock(err);
	if (lock < 0)
		return lock;
	r = may_have(card, address, err);
	if (r <= 0)
		return r;
	r = commit_address(card, address, lock, err);
	return r < 0 ? r : 1;
}
