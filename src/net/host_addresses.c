/* SPDX-License-Identifier: Apache-2.0 */
#include "net/host_addresses.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

enum {
	MESSAGE_MAX = 32 * 1024,
	REQUEST_MAX = 256,
	ROUTES_MAX = 64 * 1024,
	DUMPS_MAX = 100,
	LOOPBACK = 1, /* the interface's number in every namespace */
	OURS = 0x4c, /* the protocol by which we know our routes */
};

/* What one answer to a dump has told so far. */
struct listing {
	uint32_t sequence;
	struct host_routes routes;
	bool done;
	bool stale; /* something changed meanwhile */
};

static int open_netlink(unsigned groups, struct error *err)
{
	const struct sockaddr_nl self = { .nl_family = AF_NETLINK, .nl_groups = groups };
	auto_fd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&self, sizeof(self)) < 0)
		return error_errno(err, "cannot open netlink");
	return take_fd(&fd);
}

int host_addresses_open(struct error *err)
{
	int fd = open_netlink(RTMGRP_IPV4_ROUTE, err);

	/* so that the kernel itself picks the local routes from what may be a million */
	if (fd >= 0)
		(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &(int){ 1 }, sizeof(int));
	return fd;
}

static struct rtmsg *begin(char bytes[REQUEST_MAX], uint16_t type, uint16_t flags,
			   uint32_t sequence)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(bytes);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(header, sizeof(*m));

	header->nlmsg_type = type;
	header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	header->nlmsg_seq = sequence;
	m->rtm_family = AF_INET;
	return m;
}

static int read_attribute(const struct nlattr *a, void *arg)
{
	struct host_route *route = arg;

	if (mnl_attr_get_type(a) == RTA_DST && mnl_attr_validate(a, MNL_TYPE_U32) == 0)
		route->to.s_addr = mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

/* Return: true with a route to the host itself. */
static bool read_local(const struct nlmsghdr *header, struct host_route *route)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(header);

	if ((header->nlmsg_type != RTM_NEWROUTE && header->nlmsg_type != RTM_DELROUTE) ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(*m) || m->rtm_family != AF_INET ||
	    m->rtm_type != RTN_LOCAL)
		return false;
	*route = (struct host_route){ .prefix = m->rtm_dst_len };
	(void)mnl_attr_parse(header, sizeof(*m), read_attribute, route);
	return true;
}

/* A message of the host's namespace: of our dump, or of a change. */
static int take_message(const struct nlmsghdr *header, struct listing *l, struct error *err)
{
	struct host_route route;

	if (header->nlmsg_seq != l->sequence || !(header->nlmsg_flags & NLM_F_MULTI)) {
		l->stale |= read_local(header, &route);
		return 0;
	}
	l->stale |= (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
	if (header->nlmsg_type == NLMSG_DONE)
		l->done = true;
	else if (read_local(header, &route)) {
		if (l->routes.len == ROUTES_MAX)
			return error_set(err, E_TOO_BIG, "the host has too many addresses");
		host_routes_add(&l->routes, route);
	}
	return 0;
}

/* Read one packet. Return: 1 read; 0 with MSG_DONTWAIT and none; or error. */
static int take_packet(int host, int flags, struct listing *l, struct error *err)
{
	uint64_t packet[MESSAGE_MAX / sizeof(uint64_t)];
	ssize_t n = recv(host, packet, sizeof(packet), flags);
	int left, r = 1;

	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0 && errno == ENOBUFS)
		l->stale = true; /* changes are lost */
	if (n < 0)
		return errno == ENOBUFS || errno == EINTR
			       ? 1
			       : error_errno(err, "cannot read the host's routes");
	left = (int)n;
	for (struct nlmsghdr *h = (struct nlmsghdr *)packet; r > 0 && mnl_nlmsg_ok(h, left);
	     h = mnl_nlmsg_next(h, &left))
		if (take_message(h, l, err) < 0)
			r = -err->code;
	return r;
}

static int list(struct host_addresses *a, struct listing *l, struct error *err)
{
	char bytes[REQUEST_MAX] = { 0 };
	struct rtmsg *m = begin(bytes, RTM_GETROUTE, NLM_F_DUMP, ++a->sequence);
	const struct nlmsghdr *header = (struct nlmsghdr *)bytes;
	int r = 1;

	m->rtm_type = RTN_LOCAL;
	l->sequence = a->sequence;
	l->done = l->stale = false;
	l->routes.len = 0;
	if (send(a->host, bytes, header->nlmsg_len, 0) < 0)
		return error_errno(err, "cannot ask for the host's routes");
	while (r > 0 && !l->done)
		r = take_packet(a->host, 0, l, err);
	return r < 0 ? r : 0;
}

/* Add or delete. Return: 0 or -errno. */
static int change(struct host_addresses *a, uint16_t type, uint8_t kind, struct host_route route)
{
	char bytes[REQUEST_MAX] = { 0 }, answer[MESSAGE_MAX];
	uint16_t flags = type == RTM_NEWROUTE ? NLM_F_ACK | NLM_F_CREATE : NLM_F_ACK;
	struct rtmsg *m = begin(bytes, type, flags, ++a->sequence);
	struct nlmsghdr *header = (struct nlmsghdr *)bytes;
	ssize_t n;

	m->rtm_dst_len = route.prefix;
	m->rtm_table = kind == RTN_LOCAL ? RT_TABLE_LOCAL : RT_TABLE_MAIN;
	m->rtm_protocol = OURS;
	m->rtm_scope = kind == RTN_LOCAL ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
	m->rtm_type = kind;
	mnl_attr_put_u32(header, RTA_DST, route.to.s_addr);
	if (kind == RTN_LOCAL)
		mnl_attr_put_u32(header, RTA_OIF, LOOPBACK);
	if (send(a->here, bytes, header->nlmsg_len, 0) < 0)
		return -errno;
	do
		n = recv(a->here, answer, sizeof(answer), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 || mnl_cb_run(answer, (size_t)n, a->sequence, 0, NULL, NULL) < 0)
		return -errno;
	return 0;
}

static bool contains(const struct host_routes *routes, struct host_route wanted)
{
	for (size_t i = 0; i < routes->len; i++)
		if (routes->items[i].to.s_addr == wanted.to.s_addr &&
		    routes->items[i].prefix == wanted.prefix)
			return true;
	return false;
}

static bool overlaps(struct host_route route, const struct subnet *pool)
{
	unsigned bits = route.prefix < pool->prefix ? route.prefix : pool->prefix;

	return bits == 0 || (ntohl(route.to.s_addr) ^ pool->network) >> (32 - bits) == 0;
}

/* In a pool it is root's VMs whom the address belongs to; theirs are closed by the pool's route. */
static bool is_wanted(const struct host_addresses *a, struct host_route route)
{
	for (size_t i = 0; i < a->pool_count; i++)
		if (overlaps(route, &a->pools[i]))
			return false;
	return route.prefix > 0;
}

static int add_new(struct host_addresses *a, const struct host_routes *now, struct error *err)
{
	for (size_t i = 0; i < now->len; i++) {
		int r;

		if (!is_wanted(a, now->items[i]) || contains(&a->known, now->items[i]))
			continue;
		r = change(a, RTM_NEWROUTE, RTN_LOCAL, now->items[i]);
		/* -EEXIST: of the namespace's own, 127.0.0.0/8 for one */
		if (r < 0 && r != -EEXIST)
			return error_set(err, -r, "cannot close an address of the host's: %s",
					 strerror(-r));
		if (r == 0)
			host_routes_add(&a->known, now->items[i]);
	}
	return 0;
}

static void delete_old(struct host_addresses *a, const struct host_routes *now)
{
	size_t kept = 0;

	for (size_t i = 0; i < a->known.len; i++) {
		struct host_route route = a->known.items[i];

		if (contains(now, route) || change(a, RTM_DELROUTE, RTN_LOCAL, route) < 0)
			a->known.items[kept++] = route;
	}
	a->known.len = kept;
}

/* Until a dump was not overtaken by a change. */
static int take_over(struct host_addresses *a, struct error *err)
{
	struct listing l = { .routes = VEC_INIT };
	int r = 0;

	for (int i = 0; i == 0 || (r == 0 && l.stale && i < DUMPS_MAX); i++) {
		r = list(a, &l, err);
		if (r == 0)
			r = add_new(a, &l.routes, err);
		if (r == 0)
			delete_old(a, &l.routes);
	}
	host_routes_release(&l.routes);
	return r;
}

static int close_pools(struct host_addresses *a, struct error *err)
{
	for (size_t i = 0; i < a->pool_count; i++) {
		const struct host_route route = { { htonl(a->pools[i].network) },
						  (uint8_t)a->pools[i].prefix };
		int r = change(a, RTM_NEWROUTE, RTN_UNREACHABLE, route);

		if (r < 0)
			return error_set(err, -r, "cannot close the subnet: %s", strerror(-r));
	}
	return 0;
}

int host_addresses_begin(struct host_addresses *a, int host, const struct subnet *pools,
			 size_t pool_count, struct error *err)
{
	int r;

	a->host = host;
	a->pools = pools;
	a->pool_count = pool_count;
	a->here = open_netlink(0, err);
	if (a->here < 0)
		return a->here;
	r = close_pools(a, err);
	return r < 0 ? r : take_over(a, err);
}

int host_addresses_follow(struct host_addresses *a, struct error *err)
{
	struct listing changes = { .routes = VEC_INIT };
	int r = 1;

	while (r > 0)
		r = take_packet(a->host, MSG_DONTWAIT, &changes, err);
	host_routes_release(&changes.routes);
	if (r < 0 || !changes.stale)
		return r;
	return take_over(a, err);
}

void host_addresses_release(struct host_addresses *a)
{
	cleanup_close_(&a->here);
	a->here = -1;
	host_routes_release(&a->known);
}
