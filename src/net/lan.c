/* SPDX-License-Identifier: Apache-2.0 */
#include "net/lan.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "net/rules.h"

enum { PATH_SIZE = 64 };

bool lan_is_bridge(const struct rtnl_link *link)
{
	return strcmp(link->kind, "bridge") == 0;
}

static const struct rtnl_link *by_index(const struct rtnl_links *links, unsigned index)
{
	for (size_t i = 0; i < links->len; i++)
		if (links->items[i].index == index)
			return &links->items[i];
	return NULL;
}

static bool is_ours(const struct rtnl_link *link)
{
	return link->group == RULES_GROUP || link->group == LAN_GROUP;
}

static bool is_wireless(const struct rtnl_link *link)
{
	char path[PATH_SIZE];

	(void)snprintf(path, sizeof(path), "/sys/class/net/%s/phy80211", link->name);
	return access(path, F_OK) == 0;
}

/* A VRF takes no frames away from its members, every other master does. */
static const struct rtnl_link *master_of(const struct rtnl_links *links,
					 const struct rtnl_link *link)
{
	const struct rtnl_link *master = link->master ? by_index(links, link->master) : NULL;

	return master && strcmp(master->kind, "vrf") != 0 ? master : NULL;
}

/* What is wrong with it, or NULL. */
static const char *fault(const struct rtnl_links *links, const struct rtnl_link *link)
{
	if (is_ours(link))
		return "it is another VM's";
	if (link->loopback)
		return "it is the loopback";
	if (!link->ethernet)
		return "it is not Ethernet";
	if (is_wireless(link))
		return "it is wireless, where every station has one MAC address only";
	if (master_of(links, link))
		return "it is a port itself, use its bridge";
	if (!link->up)
		return "it is down";
	return NULL;
}

static void list_usable(const struct rtnl_links *links, struct str *out)
{
	for (size_t i = 0; i < links->len; i++)
		if (!fault(links, &links->items[i]))
			str_addf(out, "%s%s", out->len ? ", " : "", links->items[i].name);
}

int lan_find(const struct rtnl_links *links, const char *name, const struct rtnl_link **found,
	     struct error *err)
{
	const struct rtnl_link *link = rtnl_link_named(links, name);
	const char *wrong = link ? fault(links, link) : "missing";
	auto_str usable = STR_INIT;

	if (!wrong) {
		*found = link;
		return 0;
	}
	list_usable(links, &usable);
	if (usable.len == 0)
		str_adds(&usable, "none");
	if (!link)
		return error_set(err, E_INVALID,
				 "no bridge interfaces matched \"%s\", available interfaces: %s",
				 name, usable.ptr);
	return error_set(err, E_INVALID, "cannot bridge to '%s': %s, available interfaces: %s",
			 name, wrong, usable.ptr);
}
