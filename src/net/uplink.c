/* SPDX-License-Identifier: Apache-2.0 */
#include "net/uplink.h"

#include <errno.h>

#include "base/error.h"
#include "net/rules.h"
#include "net/tap.h"

void uplink_find_closed(const struct rtnl_links *links, struct strings *closed)
{
	for (size_t i = 0; i < links->len; i++) {
		const struct rtnl_link *link = &links->items[i];
		struct error ignored = ERROR_INIT;

		if (link->loopback || link->group == RULES_GROUP ||
		    !rules_is_plain_name(link->name))
			continue;
		if (tap_forwards(link->name, &ignored) == 0)
			strings_add(closed, link->name);
	}
}

int uplink_open(const struct strings *names, struct error *err)
{
	for (size_t i = 0; i < names->len; i++) {
		int r = tap_set_forwarding(names->items[i], true, err);

		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

void uplink_restore(const struct strings *names)
{
	/* somebody else made the host a router meanwhile: it stays one */
	if (tap_host_forwards())
		return;
	for (size_t i = 0; i < names->len; i++) {
		struct error ignored = ERROR_INIT;

		(void)tap_set_forwarding(names->items[i], false, &ignored);
	}
}
