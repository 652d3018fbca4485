/* SPDX-License-Identifier: Apache-2.0 */

/* Addresses, neighbours and routes. */

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "net/rtnl_request.h"

int rtnl_add_address(struct rtnl *nl, unsigned index, struct in_addr address, unsigned prefix,
		     struct error *err)
{
	struct rtnl_request r;
	struct ifaddrmsg *m = rtnl_begin(nl, &r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL,
					 sizeof(struct ifaddrmsg));

	m->ifa_family = AF_INET;
	m->ifa_prefixlen = (uint8_t)prefix;
	m->ifa_index = index;
	mnl_attr_put_u32(r.header, IFA_LOCAL, address.s_addr);
	mnl_attr_put_u32(r.header, IFA_ADDRESS, address.s_addr);
	mnl_attr_put_u32(r.header, IFA_FLAGS, IFA_F_NOPREFIXROUTE);
	return rtnl_do(nl, &r, "give the tap its address", err);
}

int rtnl_set_neighbour(struct rtnl *nl, unsigned index, struct in_addr address,
		       const uint8_t mac[6], struct error *err)
{
	struct rtnl_request r;
	struct ndmsg *m = rtnl_begin(nl, &r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
				     sizeof(struct ndmsg));

	m->ndm_family = AF_INET;
	m->ndm_ifindex = (int)index;
	m->ndm_state = NUD_PERMANENT;
	mnl_attr_put_u32(r.header, NDA_DST, address.s_addr);
	mnl_attr_put(r.header, NDA_LLADDR, 6, mac);
	return rtnl_do(nl, &r, "tell the host the guest's MAC address", err);
}

int rtnl_add_route(struct rtnl *nl, unsigned index, struct in_addr guest, struct in_addr source,
		   struct error *err)
{
	struct rtnl_request r;
	struct rtmsg *m =
		rtnl_begin(nl, &r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct rtmsg));

	m->rtm_family = AF_INET;
	m->rtm_dst_len = 32;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_scope = RT_SCOPE_LINK;
	m->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(r.header, RTA_DST, guest.s_addr);
	mnl_attr_put_u32(r.header, RTA_OIF, index);
	mnl_attr_put_u32(r.header, RTA_PREFSRC, source.s_addr);
	return rtnl_do(nl, &r, "add the guest's route", err);
}

int rtnl_delete_route(struct rtnl *nl, unsigned index, struct in_addr guest, struct error *err)
{
	struct rtnl_request r;
	struct rtmsg *m = rtnl_begin(nl, &r, RTM_DELROUTE, 0, sizeof(struct rtmsg));

	m->rtm_family = AF_INET;
	m->rtm_dst_len = 32;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_scope = RT_SCOPE_NOWHERE; /* any */
	mnl_attr_put_u32(r.header, RTA_DST, guest.s_addr);
	mnl_attr_put_u32(r.header, RTA_OIF, index);
	return rtnl_do(nl, &r, "remove the guest's route", err);
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
	struct rtnl_request r;
	struct rtmsg *m = rtnl_begin(nl, &r, RTM_GETROUTE, NLM_F_ACK, sizeof(struct rtmsg));
	int code;

	*route = (struct rtnl_route){ 0 };
	m->rtm_family = AF_INET;
	m->rtm_dst_len = 32;
	m->rtm_flags = RTM_F_FIB_MATCH;
	mnl_attr_put_u32(r.header, RTA_DST, address.s_addr);
	code = rtnl_talk(nl, &r, read_route, route);
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
		rtnl_read_u32(a, &address->address.s_addr);
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
	const struct rtnl_dump dump = {
		.type = RTM_GETADDR,
		.fixed = &(struct ifaddrmsg){ .ifa_family = AF_INET },
		.fixed_size = sizeof(struct ifaddrmsg),
		.each = read_address,
		.arg = addresses,
	};

	return rtnl_list(nl, &dump, &addresses->len, "addresses", err);
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
		rtnl_read_u32(a, &gateway->address.s_addr);
	if (mnl_attr_get_type(a) == RTA_OIF)
		rtnl_read_u32(a, &gateway->index);
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
	const struct rtnl_dump dump = {
		.type = RTM_GETROUTE,
		.fixed = &(struct rtmsg){ .rtm_family = AF_INET },
		.fixed_size = sizeof(struct rtmsg),
		.each = read_gateway,
		.arg = gateways,
	};

	return rtnl_list(nl, &dump, &gateways->len, "routes", err);
}

static int read_target_attribute(const struct nlattr *a, void *arg)
{
	struct rtnl_address *target = arg;

	if (mnl_attr_get_type(a) == RTA_DST)
		rtnl_read_u32(a, &target->address.s_addr);
	return MNL_CB_OK;
}

static int read_local(const struct nlmsghdr *header, void *arg)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(header);
	struct rtnl_address target = { .prefix = m->rtm_dst_len };

	if (header->nlmsg_type != RTM_NEWROUTE || m->rtm_family != AF_INET ||
	    m->rtm_type != RTN_LOCAL)
		return MNL_CB_OK;
	if (mnl_attr_parse(header, sizeof(*m), read_target_attribute, &target) < 0)
		return MNL_CB_ERROR;
	rtnl_addresses_add(arg, target);
	return MNL_CB_OK;
}

int rtnl_list_local(struct rtnl *nl, struct rtnl_addresses *prefixes, struct error *err)
{
	const struct rtnl_dump dump = {
		.type = RTM_GETROUTE,
		.fixed = &(struct rtmsg){ .rtm_family = AF_INET, .rtm_type = RTN_LOCAL },
		.fixed_size = sizeof(struct rtmsg),
		.each = read_local,
		.arg = prefixes,
	};

	return rtnl_list(nl, &dump, &prefixes->len, "routes", err);
}
