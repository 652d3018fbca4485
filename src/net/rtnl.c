/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rtnl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/error.h"

/* One message of the kernel's; libmnl's own limit is 8 KiB or a page. */
enum { MESSAGE_MAX = 32 * 1024, REQUEST_MAX = 512, LIST_TRIES = 100 };

struct request {
	char bytes[REQUEST_MAX];
	struct nlmsghdr *header;
};

int rtnl_open(struct rtnl *nl, struct error *err)
{
	nl->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl->socket)
		return error_errno(err, "cannot open netlink");
	if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return error_errno(err, "cannot bind netlink");
	return 0;
}

void rtnl_close(struct rtnl *nl)
{
	if (nl->socket)
		(void)mnl_socket_close(nl->socket);
	nl->socket = NULL;
}

/* Begin a request whose fixed part is @fixed bytes. Return: the fixed part, zeroed. */
static void *request_begin(struct rtnl *nl, struct request *r, uint16_t type, uint16_t flags,
			   size_t fixed)
{
	memset(r, 0, sizeof(*r));
	r->header = mnl_nlmsg_put_header(r->bytes);
	r->header->nlmsg_type = type;
	r->header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	r->header->nlmsg_seq = ++nl->sequence;
	return mnl_nlmsg_put_extra_header(r->header, fixed);
}

/* Send, and give each message of the answer to @each. Return: 0 or -errno. */
static int request_talk(struct rtnl *nl, struct request *r, mnl_cb_t each, void *arg)
{
	char answer[MESSAGE_MAX];
	unsigned port = mnl_socket_get_portid(nl->socket);
	int more;

	if (mnl_socket_sendto(nl->socket, r->header, r->header->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(nl->socket, answer, sizeof(answer));

		if (n < 0 && errno == EINTR) {
			more = 1;
			continue;
		}
		if (n < 0)
			return -errno;
		more = mnl_cb_run(answer, (size_t)n, nl->sequence, port, each, arg);
		if (more < 0)
			return -errno;
	} while (more > 0);
	return 0;
}

static int request_do(struct rtnl *nl, struct request *r, const char *what, struct error *err)
{
	int code;

	r->header->nlmsg_flags |= NLM_F_ACK;
	code = request_talk(nl, r, NULL, NULL);
	if (code == 0)
		return 0;
	errno = -code;
	return error_errno(err, "cannot %s", what);
}

static void read_text(const struct nlattr *a, char *text, size_t size)
{
	size_t len = mnl_attr_get_payload_len(a);

	if (len > size - 1)
		len = size - 1;
	memcpy(text, mnl_attr_get_payload(a), len);
	text[len] = '\0';
}

static void read_u32(const struct nlattr *a, uint32_t *value)
{
	if (mnl_attr_validate(a, MNL_TYPE_U32) == 0)
		*value = mnl_attr_get_u32(a);
}

static int read_link_kind(const struct nlattr *a, void *arg)
{
	struct rtnl_link *link = arg;

	if (mnl_attr_get_type(a) == IFLA_INFO_KIND)
		read_text(a, link->kind, sizeof(link->kind));
	return MNL_CB_OK;
}

static int read_link_attribute(const struct nlattr *a, void *arg)
{
	struct rtnl_link *link = arg;

	switch (mnl_attr_get_type(a)) {
	case IFLA_IFNAME:
		read_text(a, link->name, sizeof(link->name));
		break;
	case IFLA_IFALIAS:
		read_text(a, link->alias, sizeof(link->alias));
		break;
	case IFLA_LINKINFO:
		return mnl_attr_parse_nested(a, read_link_kind, link);
	case IFLA_GROUP:
		read_u32(a, &link->group);
		break;
	case IFLA_MTU:
		read_u32(a, &link->mtu);
		break;
	case IFLA_MASTER:
		read_u32(a, &link->master);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int read_link(const struct nlmsghdr *header, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);
	struct rtnl_link link = { 0 };

	if (header->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	link.index = (unsigned)info->ifi_index;
	link.loopback = info->ifi_flags & IFF_LOOPBACK;
	link.ethernet = info->ifi_type == ARPHRD_ETHER;
	link.up = info->ifi_flags & IFF_UP;
	if (mnl_attr_parse(header, sizeof(*info), read_link_attribute, &link) < 0)
		return MNL_CB_ERROR;
	rtnl_links_add(arg, link);
	return MNL_CB_OK;
}

struct dump {
	uint16_t type; /* of the request */
	size_t fixed; /* bytes of its fixed part, which begins with the family */
	uint8_t family;
	mnl_cb_t each;
	void *arg;
};

static int dump_once(struct rtnl *nl, const struct dump *dump)
{
	struct request r;
	uint8_t *family = request_begin(nl, &r, dump->type, NLM_F_DUMP, dump->fixed);

	*family = dump->family;
	return request_talk(nl, &r, dump->each, dump->arg);
}

/* *@len: that of the vector which it fills. */
static int dump_all(struct rtnl *nl, const struct dump *dump, size_t *len, const char *what,
		    struct error *err)
{
	size_t before = *len;
	int code = dump_once(nl, dump);

	/* some came or went while they were listed: one may be missing */
	for (unsigned i = 0; code == -EINTR && i < LIST_TRIES; i++) {
		*len = before;
		rtnl_close(nl); /* with the rest of that list */
		if (rtnl_open(nl, err) < 0)
			return -err->code;
		code = dump_once(nl, dump);
	}
	if (code == 0)
		return 0;
	errno = -code;
	return error_errno(err, "cannot list the %s", what);
}

int rtnl_list_links(struct rtnl *nl, struct rtnl_links *links, struct error *err)
{
	const struct dump dump = {
		.type = RTM_GETLINK,
		.fixed = sizeof(struct ifinfomsg),
		.each = read_link,
		.arg = links,
	};

	return dump_all(nl, &dump, &links->len, "interfaces", err);
}

int rtnl_set_link(struct rtnl *nl, unsigned index, uint32_t group, const uint8_t mac[6],
		  uint32_t mtu, struct error *err)
{
	struct request r;
	struct ifinfomsg *info = request_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	mnl_attr_put_u32(r.header, IFLA_GROUP, group);
	mnl_attr_put(r.header, IFLA_ADDRESS, 6, mac);
	mnl_attr_put_u32(r.header, IFLA_MTU, mtu);
	return request_do(nl, &r, "set up the tap", err);
}

int rtnl_set_up(struct rtnl *nl, unsigned index, bool up, struct error *err)
{
	struct request r;
	struct ifinfomsg *info = request_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	info->ifi_change = IFF_UP;
	info->ifi_flags = up ? IFF_UP : 0;
	return request_do(nl, &r, up ? "bring the tap up" : "bring the tap down", err);
}

int rtnl_set_up_multicast(struct rtnl *nl, unsigned index, struct error *err)
{
	struct request r;
	struct ifinfomsg *info = request_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	info->ifi_change = info->ifi_flags = IFF_UP | IFF_ALLMULTI;
	return request_do(nl, &r, "bring the macvlan up", err);
}

int rtnl_set_alias(struct rtnl *nl, unsigned index, const char *alias, struct error *err)
{
	struct request r;
	struct ifinfomsg *info = request_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	mnl_attr_put_str(r.header, IFLA_IFALIAS, alias);
	return request_do(nl, &r, "name the tap", err);
}

int rtnl_set_master(struct rtnl *nl, unsigned index, unsigned master, struct error *err)
{
	struct request r;
	struct ifinfomsg *info = request_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	mnl_attr_put_u32(r.header, IFLA_MASTER, master);
	return request_do(nl, &r, "make the tap a port of the bridge", err);
}

int rtnl_add_macvlan(struct rtnl *nl, const char *name, unsigned lower, uint32_t group,
		     const uint8_t mac[6], struct error *err)
{
	struct request r;
	struct nlattr *info, *data;

	(void)request_begin(nl, &r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL,
			    sizeof(struct ifinfomsg));
	mnl_attr_put_strz(r.header, IFLA_IFNAME, name);
	mnl_attr_put_u32(r.header, IFLA_LINK, lower);
	mnl_attr_put_u32(r.header, IFLA_GROUP, group);
	mnl_attr_put(r.header, IFLA_ADDRESS, 6, mac);
	info = mnl_attr_nest_start(r.header, IFLA_LINKINFO);
	mnl_attr_put_strz(r.header, IFLA_INFO_KIND, "macvlan");
	data = mnl_attr_nest_start(r.header, IFLA_INFO_DATA);
	mnl_attr_put_u32(r.header, IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
	mnl_attr_nest_end(r.header, data);
	mnl_attr_nest_end(r.header, info);
	return request_do(nl, &r, "make a macvlan", err);
}

int rtnl_delete_link(struct rtnl *nl, unsigned index, struct error *err)
{
	struct request r;
	struct ifinfomsg *info = request_begin(nl, &r, RTM_DELLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	return request_do(nl, &r, "delete the tap", err);
}

int rtnl_add_address(struct rtnl *nl, unsigned index, struct in_addr address, unsigned prefix,
		     struct error *err)
{
	struct request r;
	struct ifaddrmsg *m = request_begin(nl, &r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL,
					    sizeof(struct ifaddrmsg));

	m->ifa_family = AF_INET;
	m->ifa_prefixlen = (uint8_t)prefix;
	m->ifa_index = index;
	mnl_attr_put_u32(r.header, IFA_LOCAL, address.s_addr);
	mnl_attr_put_u32(r.header, IFA_ADDRESS, address.s_addr);
	mnl_attr_put_u32(r.header, IFA_FLAGS, IFA_F_NOPREFIXROUTE);
	return request_do(nl, &r, "give the tap its address", err);
}

int rtnl_set_neighbour(struct rtnl *nl, unsigned index, struct in_addr address,
		       const uint8_t mac[6], struct error *err)
{
	struct request r;
	struct ndmsg *m = request_begin(nl, &r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
					sizeof(struct ndmsg));

	m->ndm_family = AF_INET;
	m->ndm_ifindex = (int)index;
	m->ndm_state = NUD_PERMANENT;
	mnl_attr_put_u32(r.header, NDA_DST, address.s_addr);
	mnl_attr_put(r.header, NDA_LLADDR, 6, mac);
	return request_do(nl, &r, "tell the host the guest's MAC address", err);
}

struct neighbour {
	uint8_t mac[6];
	bool known;
};

static int read_neighbour_attribute(const struct nlattr *a, void *arg)
{
	struct neighbour *n = arg;

	if (mnl_attr_get_type(a) == NDA_LLADDR && mnl_attr_get_payload_len(a) == 6) {
		memcpy(n->mac, mnl_attr_get_payload(a), 6);
		n->known = true;
	}
	return MNL_CB_OK;
}

static int read_neighbour(const struct nlmsghdr *header, void *arg)
{
	const struct ndmsg *m = mnl_nlmsg_get_payload(header);

	if (header->nlmsg_type != RTM_NEWNEIGH || (m->ndm_state & (NUD_FAILED | NUD_INCOMPLETE)))
		return MNL_CB_OK;
	return mnl_attr_parse(header, sizeof(*m), read_neighbour_attribute, arg);
}

int rtnl_find_neighbour(struct rtnl *nl, unsigned index, struct in_addr address, uint8_t mac[6],
			struct error *err)
{
	struct request r;
	struct ndmsg *m = request_begin(nl, &r, RTM_GETNEIGH, NLM_F_ACK, sizeof(struct ndmsg));
	struct neighbour n = { .known = false };
	int code;

	m->ndm_family = AF_INET;
	m->ndm_ifindex = (int)index;
	mnl_attr_put_u32(r.header, NDA_DST, address.s_addr);
	code = request_talk(nl, &r, read_neighbour, &n);
	if (code < 0 && code != -ENOENT) {
		errno = -code;
		return error_errno(err, "cannot look up a neighbour");
	}
	if (n.known)
		memcpy(mac, n.mac, sizeof(n.mac));
	return n.known;
}

int rtnl_add_route(struct rtnl *nl, unsigned index, struct in_addr guest, struct in_addr source,
		   struct error *err)
{
	struct request r;
	struct rtmsg *m = request_begin(nl, &r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL,
					sizeof(struct rtmsg));

	m->rtm_family = AF_INET;
	m->rtm_dst_len = 32;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = RT_SCOPE_LINK;
	m->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(r.header, RTA_DST, guest.s_addr);
	mnl_attr_put_u32(r.header, RTA_OIF, index);
	mnl_attr_put_u32(r.header, RTA_PREFSRC, source.s_addr);
	return request_do(nl, &r, "add the guest's route", err);
}

int rtnl_delete_route(struct rtnl *nl, unsigned index, struct in_addr guest, struct error *err)
{
	struct request r;
	struct rtmsg *m = request_begin(nl, &r, RTM_DELROUTE, 0, sizeof(struct rtmsg));

	m->rtm_family = AF_INET;
	m->rtm_dst_len = 32;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_scope = RT_SCOPE_NOWHERE; /* any */
	mnl_attr_put_u32(r.header, RTA_DST, guest.s_addr);
	mnl_attr_put_u32(r.header, RTA_OIF, index);
	return request_do(nl, &r, "remove the guest's route", err);
}

static int read_route_attribute(const struct nlattr *a, void *arg)
{
	struct rtnl_route *route = arg;

	if (mnl_attr_get_type(a) == RTA_OIF && mnl_attr_validate(a, MNL_TYPE_U32) == 0)
		route->index = mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

static int read_route(const struct nlmsghdr *header, void *arg)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(header);
	struct rtnl_route *route = arg;

	if (header->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	route->prefix = m->rtm_dst_len;
	route->local = m->rtm_type == RTN_LOCAL;
	return mnl_attr_parse(header, sizeof(*m), read_route_attribute, route);
}

int rtnl_find_route(struct rtnl *nl, struct in_addr address, struct rtnl_route *route,
		    struct error *err)
{
	struct request r;
	struct rtmsg *m = request_begin(nl, &r, RTM_GETROUTE, NLM_F_ACK, sizeof(struct rtmsg));
	int code;

	*route = (struct rtnl_route){ 0 };
	m->rtm_family = AF_INET;
	m->rtm_dst_len = 32;
	m->rtm_flags = RTM_F_FIB_MATCH;
	mnl_attr_put_u32(r.header, RTA_DST, address.s_addr);
	code = request_talk(nl, &r, read_route, route);
	if (code == 0)
		return 1;
	/* none at all, or one that only says no */
	if (code == -ENETUNREACH || code == -EHOSTUNREACH || code == -EACCES || code == -EINVAL)
		return 0;
	errno = -code;
	return error_errno(err, "cannot look up a route");
}

static int read_address_attribute(const struct nlattr *a, void *arg)
{
	struct rtnl_address *address = arg;

	if (mnl_attr_get_type(a) == IFA_LOCAL)
		read_u32(a, &address->address.s_addr);
	return MNL_CB_OK;
}

static int read_address(const struct nlmsghdr *header, void *arg)
{
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(header);
	struct rtnl_address address = { 0 };

	if (header->nlmsg_type != RTM_NEWADDR || m->ifa_family != AF_INET)
		return MNL_CB_OK;
	address.index = m->ifa_index;
	address.prefix = m->ifa_prefixlen;
	if (mnl_attr_parse(header, sizeof(*m), read_address_attribute, &address) < 0)
		return MNL_CB_ERROR;
	rtnl_addresses_add(arg, address);
	return MNL_CB_OK;
}

int rtnl_list_addresses(struct rtnl *nl, struct rtnl_addresses *addresses, struct error *err)
{
	const struct dump dump = {
		.type = RTM_GETADDR,
		.fixed = sizeof(struct ifaddrmsg),
		.family = AF_INET,
		.each = read_address,
		.arg = addresses,
	};

	return dump_all(nl, &dump, &addresses->len, "addresses", err);
}

int rtnl_watch_addresses(struct error *err)
{
	const struct sockaddr_nl group = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_IPV4_IFADDR,
	};
	auto_fd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&group, sizeof(group)) < 0)
		return error_errno(err, "cannot watch the addresses");
	return take_fd(&fd);
}

static int read_gateway_attribute(const struct nlattr *a, void *arg)
{
	struct rtnl_address *gateway = arg;

	if (mnl_attr_get_type(a) == RTA_GATEWAY)
		read_u32(a, &gateway->address.s_addr);
	if (mnl_attr_get_type(a) == RTA_OIF)
		read_u32(a, &gateway->index);
	return MNL_CB_OK;
}

static int read_gateway(const struct nlmsghdr *header, void *arg)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(header);
	struct rtnl_address gateway = { .prefix = 32 };

	if (header->nlmsg_type != RTM_NEWROUTE || m->rtm_family != AF_INET)
		return MNL_CB_OK;
	if (mnl_attr_parse(header, sizeof(*m), read_gateway_attribute, &gateway) < 0)
		return MNL_CB_ERROR;
	if (gateway.address.s_addr)
		rtnl_addresses_add(arg, gateway);
	return MNL_CB_OK;
}

int rtnl_list_gateways(struct rtnl *nl, struct rtnl_addresses *gateways, struct error *err)
{
	const struct dump dump = {
		.type = RTM_GETROUTE,
		.fixed = sizeof(struct rtmsg),
		.family = AF_INET,
		.each = read_gateway,
		.arg = gateways,
	};

	return dump_all(nl, &dump, &gateways->len, "routes", err);
}
