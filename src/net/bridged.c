/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * As in net/network.c the kernel's tables are the only state, and whoever
 * changes them holds the lock. Of card number N there are: the tap lzbN and the table of
 * the same name, and on a plain interface the macvlans lzwN (its port) and
 * lzmN (the host's); all of group LAN_GROUP. The tap's alias tells other keepers who is behind it:
 * "MAC" and, once it is known, " ADDRESS".
 *
 * The tap vanishes with its last descriptor; macvlans and table do not. So
 * those whose tap is gone are what a killed keeper left, and the next one sweeps them.
 *
 * The host's macvlan must not be seen on the LAN: its ARP would move the host's address to
 * another MAC in all caches. It does not ask (the guest's MAC is a permanent neighbour), and
 * the filter lets it speak with the guest alone.
 */

#include "net/bridged_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "net/arp_probe.h"
#include "net/doors.h"
#include "net/lan.h"
#include "net/network.h"
#include "net/nft.h"
#include "net/tap.h"

enum { CARDS_MAX = 10000 };

#define TAP "lzb"
#define WIRE "lzw"
#define HOST "lzm"
enum { PREFIX_LEN = 3 }; /* of each of them */

/* The name of another part of the card whose tap is @tap. */
static void part_name(const char *tap, const char *prefix, char name[NET_NAME_MAX])
{
	(void)snprintf(name, NET_NAME_MAX, "%s%.*s", prefix, NET_NAME_MAX - PREFIX_LEN - 1,
		       tap + PREFIX_LEN);
}

struct rules_card bridged_rules_card(const struct bridged *card)
{
	struct rules_card r = { .address = card->address };

	memcpy(r.name, card->name, sizeof(r.name));
	memcpy(r.mac, card->mac, sizeof(r.mac));
	if (card->wire_index)
		part_name(card->name, WIRE, r.wire);
	if (card->host_index)
		part_name(card->name, HOST, r.host);
	return r;
}

static bool has_part(const struct rtnl_links *links, const char *tap, const char *prefix)
{
	char name[NET_NAME_MAX];

	part_name(tap, prefix, name);
	return rtnl_link_named(links, name);
}

/* What killed keepers left. */

static bool is_orphan(const struct rtnl_links *links, const struct rtnl_link *link)
{
	char tap[NET_NAME_MAX];

	if (link->group != LAN_GROUP ||
	    !(str_starts(link->name, WIRE) || str_starts(link->name, HOST)))
		return false;
	part_name(link->name, TAP, tap);
	return !rtnl_link_named(links, tap);
}

static int sweep_links(struct rtnl *nl, const struct rtnl_links *links, struct error *err)
{
	for (size_t i = 0; i < links->len; i++) {
		int r = is_orphan(links, &links->items[i])
				? rtnl_delete_link(nl, links->items[i].index, err)
				: 0;

		if (r < 0 && !rtnl_is_gone(r))
			return r;
	}
	return 0;
}

static int sweep_tables(const struct rtnl_links *links, int lock, struct error *err)
{
	auto_str ask = STR_INIT, answer = STR_INIT, text = STR_INIT;
	auto_strings names = VEC_INIT;
	int r;

	str_adds(&ask, RULES_LIST_CARDS);
	r = nft_run(&ask, lock, &answer, err);
	if (r < 0)
		return r;
	rules_read_cards(answer.ptr, &names);
	for (size_t i = 0; r == 0 && i < names.len; i++)
		if (!rtnl_link_named(links, names.items[i])) {
			rules_remove_card(&text, names.items[i]);
			r = doors_close_card(names.items[i], lock, err);
		}
	return r < 0 ? r : text.len ? nft_run(&text, lock, NULL, err) : 0;
}

struct bridged_mac bridged_mac_text(const uint8_t m[6])
{
	struct bridged_mac t;

	(void)snprintf(t.text, sizeof(t.text), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2],
		       m[3], m[4], m[5]);
	return t;
}

static int sweep(struct rtnl *nl, int lock, struct error *err)
{
	cleanup_(rtnl_links_release) struct rtnl_links links = VEC_INIT;
	int r = rtnl_list_links(nl, &links, err);

	if (r == 0)
		r = sweep_tables(&links, lock, err);
	return r < 0 ? r : sweep_links(nl, &links, err);
}

/* Making it. */

static bool is_allowed(const struct net_conf *conf, const char *parent)
{
	for (size_t i = 0; i < conf->bridges.len; i++)
		if (strcmp(conf->bridges.items[i], parent) == 0)
			return true;
	return getuid() == 0;
}

static int find_parent(struct bridged *card, const struct net_conf *conf,
		       const struct rtnl_links *links, const char *parent,
		       const struct rtnl_link **found, struct error *err)
{
	int r;

	if (!is_allowed(conf, parent))
		return error_set(err, EPERM,
				 "cannot bridge to '%s': '" NET_CONF_PATH "' does not allow it",
				 parent);
	r = lan_find(links, parent, found, err);
	if (r < 0)
		return r;
	(void)snprintf(card->parent, sizeof(card->parent), "%s", (*found)->name);
	card->parent_index = (*found)->index;
	card->mtu = (*found)->mtu;
	return 0;
}

/* The kernel refuses a second macvlan of that MAC, but not a second port of a bridge. */
static int check_mac(const struct bridged *card, const struct rtnl_links *links, struct error *err)
{
	auto_free char *alias = bridged_alias(card, (struct in_addr){ 0 });

	for (size_t i = 0; i < links->len; i++)
		if (links->items[i].group == LAN_GROUP && str_starts(links->items[i].alias, alias))
			return error_set(err, EADDRINUSE,
					 "another VM on '%s' has the MAC address %s", card->parent,
					 bridged_mac_text(card->mac).text);
	return 0;
}

static int open_numbered_tap(struct bridged *card, const struct rtnl_links *links,
			     struct error *err)
{
	int fd = -EBUSY;

	for (unsigned i = 0; fd == -EBUSY && i < CARDS_MAX; i++) {
		(void)snprintf(card->name, sizeof(card->name), TAP "%u", i);
		if (!rtnl_link_named(links, card->name) && !has_part(links, card->name, WIRE) &&
		    !has_part(links, card->name, HOST))
			fd = tap_open(card->name, err);
	}
	return fd == -EBUSY ? error_set(err, EBUSY, "there are %d bridged cards", CARDS_MAX) : fd;
}

static int make_tap(struct bridged *card, const struct rtnl_links *links, struct error *err)
{
	/* the tap's own; the highest, since a bridge takes its ports' lowest for itself */
	const uint8_t *m = card->mac;
	const uint8_t mac[] = { 0xfe, m[1] ^ 0x80, m[2], m[3], m[4], m[5] };
	auto_free char *alias = bridged_alias(card, (struct in_addr){ 0 });
	int r;

	card->tap = open_numbered_tap(card, links, err);
	if (card->tap < 0)
		return card->tap;
	card->index = if_nametoindex(card->name);
	if (card->index == 0)
		return error_errno(err, "the tap '%s' vanished", card->name);
	r = rtnl_set_link(&card->nl, card->index, LAN_GROUP, mac, card->mtu, err);
	if (r == 0)
		r = rtnl_set_alias(&card->nl, card->index, alias, err);
	return r < 0 ? r : tap_configure_bridged(card->name, false, err);
}

static int make_macvlan(struct bridged *card, const char *prefix, const uint8_t mac[6],
			unsigned *index, struct error *err)
{
	char name[NET_NAME_MAX];
	int r;

	part_name(card->name, prefix, name);
	r = rtnl_add_macvlan(&card->nl, name, card->parent_index, LAN_GROUP, mac, err);
	if (r < 0)
		return error_wrap(err, "cannot bridge to '%s'", card->parent);
	*index = if_nametoindex(name);
	if (*index == 0)
		return error_errno(err, "the macvlan '%s' vanished", name);
	return tap_configure_bridged(name, strcmp(prefix, HOST) == 0, err);
}

static int make_macvlans(struct bridged *card, struct error *err)
{
	/* the same for the same guest, so that a resumed one's table is right */
	const uint8_t *m = card->mac;
	const uint8_t mac[] = { m[0] ^ 0x80, m[1], m[2], m[3], m[4], m[5] };
	int r = make_macvlan(card, WIRE, card->mac, &card->wire_index, err);

	return r < 0 ? r : make_macvlan(card, HOST, mac, &card->host_index, err);
}

static int watch(int all, int fd, struct error *err)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(all, EPOLL_CTL_ADD, fd, &event) < 0 ? error_errno(err, "cannot watch") : 0;
}

static int make_events(struct bridged *card, struct error *err)
{
	int r;

	card->filter_events = nft_watch(err);
	if (card->filter_events < 0)
		return card->filter_events;
	card->address_events = rtnl_watch_addresses(err);
	if (card->address_events < 0)
		return card->address_events;
	card->events = epoll_create1(EPOLL_CLOEXEC);
	if (card->events < 0)
		return error_errno(err, "cannot watch");
	r = watch(card->events, card->filter_events, err);
	return r < 0 ? r : watch(card->events, card->address_events, err);
}

static int make_sockets(struct bridged *card, struct error *err)
{
	card->packets = tap_watch_socket(card->index, err);
	if (card->packets < 0)
		return card->packets;
	card->probe = arp_probe_open(card->parent_index, err);
	return card->probe < 0 ? card->probe : make_events(card, err);
}

static int number_table(struct bridged *card, uint64_t *number, struct error *err)
{
	return nft_table_number(&card->netfilter, NFPROTO_NETDEV, card->name, number, err);
}

/* Anew: flows in a table of that name, loaded by somebody, are none that the policy let in. */
static int install_filter(struct bridged *card, int lock, struct error *err)
{
	struct rules_card rules = bridged_rules_card(card);
	auto_str text = STR_INIT;
	int r;

	rules_remove_card(&text, card->name);
	rules_add_card(&text, &rules, &card->policy);
	card->filtered = true;
	r = nft_run(&text, lock, NULL, err);
	return r < 0 ? r : number_table(card, &card->table, err);
}

static int open_macvlans(struct bridged *card, struct error *err)
{
	int r = rtnl_set_up_multicast(&card->nl, card->wire_index, err);

	if (r == -EADDRINUSE)
		return error_set(err, EADDRINUSE, "the MAC address %s is in use on '%s'",
				 bridged_mac_text(card->mac).text, card->parent);
	if (r == 0)
		r = rtnl_set_up(&card->nl, card->host_index, true, err);
	return r < 0 ? r : bridged_add_host_route(card, err);
}

static int open_card(struct bridged *card, struct error *err)
{
	int r = card->wire_index ? open_macvlans(card, err)
				 : rtnl_set_master(&card->nl, card->index, card->parent_index, err);

	return r < 0 ? r : rtnl_set_up(&card->nl, card->index, true, err);
}

static int make_card(struct bridged *card, const struct rtnl_links *links, bool bridge, int lock,
		     struct error *err)
{
	int r = check_mac(card, links, err);

	if (r == 0)
		r = make_tap(card, links, err);
	if (r == 0 && !bridge)
		r = make_macvlans(card, err);
	if (r == 0)
		r = make_sockets(card, err);
	if (r == 0)
		r = install_filter(card, lock, err);
	if (r == 0)
		r = bridged_open_doors(card, lock, err);
	return r < 0 ? r : open_card(card, err);
}

int bridged_up(struct bridged *card, const struct net_conf *conf, const char *parent,
	       const uint8_t mac[6], const struct policy *policy, struct error *err)
{
	cleanup_(rtnl_links_release) struct rtnl_links links = VEC_INIT;
	const struct rtnl_link *lower = NULL;
	auto_fd lock = network_lock(err);
	int r;

	if (lock < 0)
		return lock;
	memcpy(card->mac, mac, sizeof(card->mac));
	r = bridged_copy_policy(policy, &card->policy, err);
	if (r == 0)
		r = rtnl_open(&card->nl, err);
	if (r == 0)
		r = netfilter_open(&card->netfilter, err);
	if (r == 0)
		r = sweep(&card->nl, lock, err);
	if (r == 0)
		r = rtnl_list_links(&card->nl, &links, err);
	if (r == 0)
		r = find_parent(card, conf, &links, parent, &lower, err);
	return r < 0 ? r : make_card(card, &links, lan_is_bridge(lower), lock, err);
}

/* Taking it down. */

static int close_part(struct bridged *card, unsigned index, struct error *err)
{
	int r = index ? rtnl_set_up(&card->nl, index, false, err) : 0;

	return rtnl_is_gone(r) ? 0 : r;
}

/* Its table is gone. */
static int put_back(struct bridged *card, struct error *err)
{
	auto_fd lock = -1;
	int r = close_part(card, card->index, err);

	if (r == 0)
		r = close_part(card, card->host_index, err);
	if (r < 0)
		return r;
	lock = network_lock(err);
	r = lock < 0 ? lock : install_filter(card, lock, err);
	return r < 0 ? r : open_card(card, err);
}

/* Read all that waits there. Was it anything? */
static bool drain(int fd)
{
	char byte;
	bool any = false;

	/* ENOBUFS: some are lost, which says as much */
	while (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		any = true;
	return any;
}

/* Return: 1, 0, or error. */
static int has_lost_table(struct bridged *card, struct error *err)
{
	uint64_t now;
	int r;

	if (!nft_read_news(card->filter_events))
		return 0;
	r = number_table(card, &now, err);
	return r < 0 ? r : !now || now != card->table;
}

void bridged_neighbours(const struct bridged *card, char name[NET_NAME_MAX])
{
	if (card->host_index)
		part_name(card->name, HOST, name);
	else
		memcpy(name, card->parent, NET_NAME_MAX);
}

int bridged_look_after(struct bridged *card, struct error *err)
{
	int lost = has_lost_table(card, err);

	if (lost != 0)
		return lost < 0 ? lost : put_back(card, err);
	return drain(card->address_events) ? bridged_add_host_route(card, err) : 0;
}

static int remove_table(const struct bridged *card, int lock, struct error *err)
{
	auto_str text = STR_INIT;
	int r;

	if (!card->filtered)
		return 0;
	rules_remove_card(&text, card->name);
	r = nft_run(&text, lock, NULL, err);
	return r < 0 || card->wire_index ? r : doors_close_card(card->name, lock, err);
}

/* Whatever fails, all the links go: without them the table means nothing. */
static int remove_card(struct bridged *card, int lock, struct error *err)
{
	const unsigned links[] = { card->host_index, card->wire_index, card->index };
	struct error second = ERROR_INIT;
	int r = close_part(card, card->index, err);

	if (r == 0)
		r = close_part(card, card->host_index, err);
	if (r == 0)
		r = remove_table(card, lock, err);
	for (size_t i = 0; i < array_size(links); i++) {
		int gone = links[i] ? rtnl_delete_link(&card->nl, links[i], &second) : 0;

		if (r == 0 && gone < 0 && !rtnl_is_gone(gone)) {
			*err = second;
			r = gone;
		}
	}
	return r;
}

static void close_one(int *fd)
{
	cleanup_close_(fd);
	*fd = -1;
}

void bridged_close_sockets(struct bridged *card)
{
	close_one(&card->packets);
}

int bridged_down(struct bridged *card, struct error *err)
{
	auto_fd lock = -1;
	int r = 0;

	bridged_close_sockets(card);
	if (card->nl.socket) {
		lock = network_lock(err);
		r = lock < 0 ? lock : remove_card(card, lock, err);
	}
	close_one(&card->events);
	close_one(&card->probe);
	close_one(&card->filter_events);
	close_one(&card->address_events);
	close_one(&card->tap);
	policy_release(&card->policy);
	rtnl_close(&card->nl);
	netfilter_close(&card->netfilter);
	return r;
}
