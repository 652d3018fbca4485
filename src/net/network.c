/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The kernel's tables are the only state. Whoever changes them holds the
 * flock of /run/linzer (of a user's own directory in his namespace); nft inherits it, so a killed
 * keeper's last transaction is over before another keeper looks.
 *
 * An address is taken while there is a /32 route to it (or an interface of
 * its name). At every moment at least one of two things keeps a tap closed:
 * it is down, or the filter knows exactly who is behind it:
 *
 *   up:   tap made (down) -> joins the group -> one transaction: skeleton,
 *         sweep, this guest -> flows of an earlier one with its address forgotten ->
 *         doors in other firewalls, forwarding -> tap up -> route
 *   down: tap down -> guest out of the filter (the last one: forwarding
 *         restored, doors closed, all of the filter removed) -> tap deleted, its flows
 *         forgotten -> descriptor closed: until then no other guest can have
 *         the name
 *
 * Who removes our tables (a firewall that is loaded anew) opens the taps. Each
 * keeper hears of it, takes its tap down and puts its part of the filter back; the taps whose
 * keepers were killed stay down.
 *
 * A keeper that was killed leaves its tap as long as somebody holds its
 * descriptor, and its elements in the filter. The next keeper sweeps the
 * elements whose interface is gone.
 */

#include "net/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/lock.h"
#include "net/doors.h"
#include "net/flows.h"
#include "net/network_address.h"
#include "net/nft.h"
#include "net/tap.h"
#include "net/uplink.h"

#define LOCK_DIR "/run/linzer"

enum { MTU_MAX = 1500, MTU_MIN = 1280 };

/* What is there before we change anything. */
struct survey {
	struct rtnl_links links;
	struct rules_taps taps; /* in the filter */
};
#define SURVEY_INIT                                  \
	{                                            \
		.links = VEC_INIT, .taps = VEC_INIT, \
	}

static void survey_release(struct survey *s)
{
	rtnl_links_release(&s->links);
	rules_taps_release(&s->taps);
}
#define auto_survey cleanup_(survey_release) struct survey

static const char *users_lock;

void network_use_lock(const char *dir)
{
	users_lock = dir;
}

int network_lock(struct error *err)
{
	if (users_lock)
		return lock_dir(AT_FDCWD, users_lock, LOCK_WAIT, err);
	/* root only, unless tmpfiles.d opened it for the group linzer */
	if (mkdir(LOCK_DIR, 0700) < 0 && errno != EEXIST)
		return error_errno(err, "cannot make '" LOCK_DIR "' (make install-caps)");
	return lock_dir(AT_FDCWD, LOCK_DIR, LOCK_WAIT, err);
}

/* What the list says; -ENOENT where the filter is not there. */
static int ask_filter(const char *list, int lock, struct str *answer, struct error *err)
{
	auto_str ask = STR_INIT;

	str_adds(&ask, list);
	return nft_run(&ask, lock, answer, err);
}

static unsigned count_ours(const struct rtnl_links *links)
{
	unsigned n = 0;

	for (size_t i = 0; i < links->len; i++)
		n += links->items[i].group == RULES_GROUP;
	return n;
}

/* The connections of a guest whose keeper was killed. */
static int forget_flows_of(struct netfilter *nf, const char *tap, struct error *err)
{
	struct in_addr address;
	int r = subnet_interface_address(tap, &address) ? flows_forget(nf, address, err) : 0;

	return r < 0 ? r : 0;
}

static int forget_all_flows(struct netfilter *nf, int lock, struct error *err)
{
	cleanup_(rules_taps_release) struct rules_taps taps = VEC_INIT;
	auto_str answer = STR_INIT;
	int r = ask_filter(RULES_LIST_TAPS, lock, &answer, err);

	rules_read_taps(answer.ptr, &taps);
	for (size_t i = 0; r == 0 && i < taps.len; i++)
		r = forget_flows_of(nf, taps.items[i].name, err);
	return r;
}

/* There is no guest (any more): the host becomes as it was. */
static int remove_skeleton(struct netfilter *nf, int lock, struct error *err)
{
	auto_strings opened = VEC_INIT;
	auto_str text = STR_INIT, answer = STR_INIT;
	int r = doors_close_all(lock, err);

	if (r == 0)
		r = forget_all_flows(nf, lock, err);
	if (r == 0)
		r = ask_filter(RULES_LIST_OPENED, lock, &answer, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	rules_read_opened(answer.ptr, &opened);
	uplink_restore(&opened);
	rules_drop_tables(&text);
	return nft_run(&text, lock, NULL, err);
}

static int look_around(struct survey *s, struct network *net, int lock, struct error *err)
{
	auto_str answer = STR_INIT;
	int r = rtnl_list_links(&net->nl, &s->links, err);

	if (r < 0)
		return r;
	/* the first guest begins with nothing, whatever state the filter was left in */
	if (count_ours(&s->links) == 0)
		r = remove_skeleton(&net->netfilter, lock, err);
	else
		r = ask_filter(RULES_LIST_TAPS, lock, &answer, err);
	if (r < 0 && r != -ENOENT)
		return r;
	rules_read_taps(answer.ptr, &s->taps);
	return 0;
}

static bool is_in_filter(const struct survey *s, const char *name)
{
	for (size_t i = 0; i < s->taps.len; i++)
		if (strcmp(s->taps.items[i].name, name) == 0)
			return true;
	return false;
}

/*
 * Take down each tap that the filter does not know: it went while no keeper of that tap was alive.
 * One that is alive takes its tap up again when it has put its part back.
 */
static int close_unfiltered(struct network *net, const struct survey *s, struct error *err)
{
	for (size_t i = 0; i < s->links.len; i++) {
		const struct rtnl_link *link = &s->links.items[i];
		int r = link->group == RULES_GROUP && !is_in_filter(s, link->name)
				? rtnl_set_up(&net->nl, link->index, false, err)
				: 0;

		if (r < 0 && !rtnl_is_gone(r))
			return r;
	}
	return 0;
}

/* That of the way out, within what any guest can do. */
static uint32_t choose_mtu(void)
{
	const struct sockaddr_in somewhere = {
		.sin_family = AF_INET,
		.sin_port = htons(9),
		.sin_addr = { htonl(0xc0000201) }, /* 192.0.2.1 */
	};
	auto_fd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int mtu = MTU_MAX;
	socklen_t len = sizeof(mtu);

	/* connect() sends nothing */
	if (fd < 0 || connect(fd, (const struct sockaddr *)&somewhere, sizeof(somewhere)) < 0 ||
	    getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &len) < 0 || mtu > MTU_MAX)
		return MTU_MAX;
	return mtu < MTU_MIN ? MTU_MIN : (uint32_t)mtu;
}

static int make_tap(struct network *net, struct error *err)
{
	const uint8_t *a = (const uint8_t *)&net->guest.address.s_addr;
	/* the same for the same address, so that a resumed guest's table is right */
	const uint8_t mac[sizeof(net->host_mac)] = { 0x02, 'L', a[0], a[1], a[2], a[3] };
	int r;

	memcpy(net->host_mac, mac, sizeof(mac));
	net->tap = tap_open(net->guest.name, err);
	if (net->tap < 0)
		return net->tap;
	net->index = if_nametoindex(net->guest.name);
	if (net->index == 0)
		return error_errno(err, "the tap '%s' vanished", net->guest.name);
	r = rtnl_set_link(&net->nl, net->index, RULES_GROUP, net->host_mac, net->mtu, err);
	if (r == 0)
		r = tap_configure(net->guest.name, err);
	if (r < 0)
		return r;
	return rtnl_add_address(&net->nl, net->index, net->guest.gateway, net->guest.prefix, err);
}

static int make_sockets(struct network *net, struct error *err)
{
	struct rules_guest *g = &net->guest;

	net->dhcp = tap_dhcp_socket(net->index, err);
	if (net->dhcp < 0)
		return net->dhcp;
	net->dns_udp = tap_dns_socket(SOCK_DGRAM, g->name, g->gateway, &g->dns_udp, err);
	if (net->dns_udp < 0)
		return net->dns_udp;
	net->dns_tcp = tap_dns_socket(SOCK_STREAM, g->name, g->gateway, &g->dns_tcp, err);
	return net->dns_tcp < 0 ? net->dns_tcp : 0;
}

/* The guest's chains are there, and drop all. */
static int install_policy(struct network *net, struct error *err)
{
	auto_nft_batch batch;

	nft_batch_init(&batch, &net->netfilter, RULES_FAMILY, RULES_TABLE);
	rules_set_policy(&batch, net->guest.name, &net->policy);
	for (size_t i = 0; i < net->granted.count; i++)
		rules_add_named(&batch, net->guest.name, net->granted.items[i].address);
	return nft_batch_commit(&batch, err);
}

static int number_tables(struct network *net, struct network_tables *tables, struct error *err)
{
	int r = nft_table_number(&net->netfilter, RULES_FAMILY, RULES_TABLE, &tables->inet, err);

	return r < 0 ? r
		     : nft_table_number(&net->netfilter, NFPROTO_NETDEV, RULES_TABLE,
					&tables->netdev, err);
}

/*
 * One transaction: what others left, the skeleton, the interfaces to open, this guest; then its
 * policy.
 */
static int install_filter(struct network *net, const struct survey *s, int lock, struct error *err)
{
	auto_str text = STR_INIT;
	int r;

	rules_add_skeleton(&text);
	for (size_t i = 0; i < s->taps.len; i++)
		if (!rtnl_link_named(&s->links, s->taps.items[i].name))
			rules_sweep_guest(&text, s->taps.items[i].name, s->taps.items[i].gateway);
	for (size_t i = 0; i < net->opened.len; i++)
		rules_add_opened(&text, net->opened.items[i]);
	if (tap_host_forwards())
		rules_clear_opened(&text);
	rules_add_guest(&text, &net->guest);
	net->filtered = true;
	r = nft_run(&text, lock, NULL, err);
	if (r == 0)
		r = number_tables(net, &net->tables, err);
	if (r == 0)
		r = install_policy(net, err);
	for (size_t i = 0; r == 0 && i < s->taps.len; i++)
		if (!rtnl_link_named(&s->links, s->taps.items[i].name))
			r = forget_flows_of(&net->netfilter, s->taps.items[i].name, err);
	return r;
}

static int open_tap(struct network *net, struct error *err)
{
	const struct rules_guest *g = &net->guest;
	int r = rtnl_set_up(&net->nl, net->index, true, err);

	return r < 0 ? r : rtnl_add_route(&net->nl, net->index, g->address, g->gateway, err);
}

static const struct subnet *subnet_of(const struct net_conf *conf, uint8_t mode)
{
	return mode == NET_HOST ? &conf->host_subnet : &conf->subnet;
}

static int find_place(struct network *net, const struct net_conf *conf,
		      const struct net_start *start, struct survey *s, int lock, struct error *err)
{
	const struct subnet *subnet = subnet_of(conf, start->mode);
	int r = network_open_filter(net, err);

	memcpy(net->guest.mac, start->mac, sizeof(net->guest.mac));
	net->guest.gateway = subnet_gateway(subnet);
	net->guest.prefix = subnet->prefix;
	/* the last one: where it is open, network_down() undoes, with both */
	if (r == 0)
		r = rtnl_open(&net->nl, err);
	if (r == 0)
		r = look_around(s, net, lock, err);
	if (r == 0)
		r = close_unfiltered(net, s, err);
	if (r == 0)
		r = network_choose_address(net, &s->links, subnet, start, err);
	if (r == 0)
		subnet_interface(net->guest.address, net->guest.name);
	return r;
}

int network_up(struct network *net, const struct net_conf *conf, const struct net_start *start,
	       struct policy *policy, struct error *err)
{
	auto_survey s = SURVEY_INIT;
	auto_fd lock = network_lock(err);
	int r;

	if (lock < 0)
		return lock;
	net->policy = *policy;
	*policy = (struct policy)POLICY_INIT;
	r = find_place(net, conf, start, &s, lock, err);
	if (r < 0)
		return r;
	net->mtu = choose_mtu();
	r = make_tap(net, err);
	if (r == 0)
		r = make_sockets(net, err);
	if (r == 0)
		r = net->events = nft_watch(err);
	if (r < 0)
		return r;
	if (start->mode != NET_HOST)
		uplink_find_closed(&s.links, &net->opened);
	r = install_filter(net, &s, lock, err);
	if (r == 0)
		r = doors_open(&net->guest, lock, err);
	if (r == 0)
		r = flows_forget(&net->netfilter, net->guest.address, err);
	if (r >= 0)
		r = uplink_open(&net->opened, err);
	return r < 0 ? r : open_tap(net, err);
}

/* Have the tables with our part of the filter been taken away? Return: 1, 0, or error. */
static int has_lost_filter(struct network *net, struct error *err)
{
	struct network_tables now;
	int r;

	if (!nft_read_news(net->events))
		return 0;
	r = number_tables(net, &now, err);
	if (r < 0)
		return r;
	return !now.inet || now.inet != net->tables.inet || !now.netdev ||
	       now.netdev != net->tables.netdev;
}

/* What was opened while there was no filter is judged as any open flow is. */
int network_look_after(struct network *net, struct error *err)
{
	auto_survey nothing = SURVEY_INIT, s = SURVEY_INIT;
	auto_fd lock = -1;
	int r = has_lost_filter(net, err);

	if (r <= 0)
		return r;
	r = rtnl_set_up(&net->nl, net->index, false, err);
	if (r < 0)
		return r;
	lock = network_lock(err);
	r = lock < 0 ? lock : look_around(&s, net, lock, err);
	if (r == 0)
		r = close_unfiltered(net, &s, err);
	if (r == 0)
		r = install_filter(net, &nothing, lock, err);
	if (r == 0)
		r = network_cut_flows(net, err);
	return r < 0 ? r : open_tap(net, err);
}

/* Is no tap there but this one (if it still is)? Return: 1, 0, or error. */
static int is_last(struct network *net, struct error *err)
{
	cleanup_(rtnl_links_release) struct rtnl_links links = VEC_INIT;
	int r = rtnl_list_links(&net->nl, &links, err);

	for (size_t i = 0; r == 0 && i < links.len; i++)
		if (links.items[i].group == RULES_GROUP && links.items[i].index != net->index)
			return 0;
	return r < 0 ? r : 1;
}

static int remove_elements(struct network *net, int lock, struct error *err)
{
	auto_str text = STR_INIT;
	int r;

	if (!net->filtered)
		return 0;
	rules_remove_guest(&text, &net->guest);
	r = nft_run(&text, lock, NULL, err);
	return r < 0 ? r : doors_close(net->guest.name, lock, err);
}

static int leave_filter(struct network *net, int lock, struct error *err)
{
	int r = is_last(net, err);

	if (r <= 0)
		return r < 0 ? r : remove_elements(net, lock, err);
	uplink_restore(&net->opened); /* the filter's list may be lost */
	return remove_skeleton(&net->netfilter, lock, err);
}

/* And what the kernel still knows of its connections, for who gets the address next. */
static int delete_tap(struct network *net, struct error *err)
{
	int r = net->index ? rtnl_delete_link(&net->nl, net->index, err) : 0;

	if (r < 0 && !rtnl_is_gone(r))
		return r;
	r = flows_forget(&net->netfilter, net->guest.address, err);
	return r < 0 ? r : 0;
}

/* Whatever fails, the tap goes: without it the elements mean nothing. */
static int remove_guest(struct network *net, int lock, struct error *err)
{
	struct error second = ERROR_INIT;
	int r = net->index ? rtnl_set_up(&net->nl, net->index, false, err) : 0, deleted;

	if (r == 0 || rtnl_is_gone(r))
		r = leave_filter(net, lock, err);
	deleted = delete_tap(net, &second);
	if (r == 0 && deleted < 0) {
		*err = second;
		r = deleted;
	}
	return r;
}

static void close_all(int *const fds[], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		cleanup_close_(fds[i]);
		*fds[i] = -1;
	}
}

void network_close_sockets(struct network *net)
{
	int *const all[] = { &net->dhcp, &net->dns_udp, &net->dns_tcp };

	close_all(all, array_size(all));
}

int network_down(struct network *net, struct error *err)
{
	int *const rest[] = { &net->events, &net->tap };
	auto_fd lock = -1;
	int r = 0;

	network_close_sockets(net);
	if (net->nl.socket) {
		lock = network_lock(err);
		r = lock < 0 ? lock : remove_guest(net, lock, err);
	}
	close_all(rest, array_size(rest));
	strings_release(&net->opened);
	policy_release(&net->policy);
	rtnl_close(&net->nl);
	netfilter_close(&net->netfilter);
	return r;
}
