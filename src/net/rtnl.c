/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rtnl_request.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/error.h"

static void read_text(const struct nlattr *a, char *text, size_t size)
{
	size_t len = mnl_attr_get_payload_len(a);

	if (len > size - 1)
		len = size - 1;
	memcpy(text, mnl_attr_get_payload(a), len);
	text[len] = '\0';
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
		rtnl_read_u32(a, &link->group);
		break;
	case IFLA_MTU:
		rtnl_read_u32(a, &link->mtu);
		break;
	case IFLA_MASTER:
		rtnl_read_u32(a, &link->master);
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

int rtnl_list_links(struct rtnl *nl, struct rtnl_links *links, struct error *err)
{
	const struct rtnl_dump dump = {
		.type = RTM_GETLINK,
		.fixed = &(struct ifinfomsg){ 0 },
		.fixed_size = sizeof(struct ifinfomsg),
		.each = read_link,
		.arg = links,
	};

	return rtnl_list(nl, &dump, &links->len, "interfaces", err);
}

int rtnl_set_link(struct rtnl *nl, unsigned index, uint32_t group, const uint8_t mac[6],
		  uint32_t mtu, struct error *err)
{
	struct rtnl_request r;
	struct ifinfomsg *info = rtnl_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	mnl_attr_put_u32(r.header, IFLA_GROUP, group);
	mnl_attr_put(r.header, IFLA_ADDRESS, 6, mac);
	mnl_attr_put_u32(r.header, IFLA_MTU, mtu);
	return rtnl_do(nl, &r, "set up the tap", err);
}

int rtnl_set_up(struct rtnl *nl, unsigned index, bool up, struct error *err)
{
	struct rtnl_request r;
	struct ifinfomsg *info = rtnl_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	info->ifi_change = IFF_UP;
	info->ifi_flags = up ? IFF_UP : 0;
	return rtnl_do(nl, &r, up ? "bring the tap up" : "bring the tap down", err);
}

int rtnl_set_up_multicast(struct rtnl *nl, unsigned index, struct error *err)
{
	struct rtnl_request r;
	struct ifinfomsg *info = rtnl_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	info->ifi_change = info->ifi_flags = IFF_UP | IFF_ALLMULTI;
	return rtnl_do(nl, &r, "bring the macvlan up", err);
}

int rtnl_set_alias(struct rtnl *nl, unsigned index, const char *alias, struct error *err)
{
	struct rtnl_request r;
	struct ifinfomsg *info = rtnl_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	mnl_attr_put_str(r.header, IFLA_IFALIAS, alias);
	return rtnl_do(nl, &r, "name the tap", err);
}

int rtnl_set_master(struct rtnl *nl, unsigned index, unsigned master, struct error *err)
{
	struct rtnl_request r;
	struct ifinfomsg *info = rtnl_begin(nl, &r, RTM_NEWLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	mnl_attr_put_u32(r.header, IFLA_MASTER, master);
	return rtnl_do(nl, &r, "make the tap a port of the bridge", err);
}

int rtnl_add_macvlan(struct rtnl *nl, const char *name, unsigned lower, uint32_t group,
		     const uint8_t mac[6], struct error *err)
{
	struct rtnl_request r;
	struct nlattr *info, *data;

	(void)rtnl_begin(nl, &r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
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
	return rtnl_do(nl, &r, "make a macvlan", err);
}

bool rtnl_is_gone(int r)
{
	return r == -ENODEV || r == -EINVAL;
}

int rtnl_delete_link(struct rtnl *nl, unsigned index, struct error *err)
{
	struct rtnl_request r;
	struct ifinfomsg *info = rtnl_begin(nl, &r, RTM_DELLINK, 0, sizeof(struct ifinfomsg));

	info->ifi_index = (int)index;
	return rtnl_do(nl, &r, "delete the tap", err);
}

const struct rtnl_link *rtnl_link_named(const struct rtnl_links *links, const char *name)
{
	for (size_t i = 0; i < links->len; i++)
		if (strcmp(links->items[i].name, name) == 0)
			return &links->items[i];
	return NULL;
}
