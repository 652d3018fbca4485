/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CONF_H
#define NET_CONF_H

/*
 * /etc/linzer/net.conf: what root lets users have. Lines of "key = value",
 * "#" begins a comment:
 *
 *   subnet = 192.168.64.0/24         of the default network and of softnet
 *   host-subnet = 192.168.128.0/24   of --net-host
 *   bridge = br0 eth1                interfaces that users may be bridged to; missing: none
 *   first-port = 1024                the lowest port of the host that users may expose
 *
 * The last two bind users, not root.
 *
 * /etc/linzer/net.rules: rule text (net/filter_text.h) that holds for every VM, before its own.
 */

#include "base/str.h"
#include "net/policy.h"
#include "net/subnet.h"

#define NET_CONF_PATH "/etc/linzer/net.conf"
#define NET_RULES_PATH "/etc/linzer/net.rules"

enum { NET_CONF_SIZE_MAX = 16 * 1024, NET_CONF_BRIDGES_MAX = 64 };

struct net_conf {
	struct subnet subnet, host_subnet;
	struct strings bridges;
	uint16_t first_port;
};
#define NET_CONF_INIT                                                                        \
	{                                                                                    \
		.subnet = { .network = 0xc0a84000, .prefix = 24 },                           \
		.host_subnet = { .network = 0xc0a88000, .prefix = 24 }, .bridges = VEC_INIT, \
		.first_port = 1024                                                           \
	}
void net_conf_release(struct net_conf *conf);
#define auto_net_conf cleanup_(net_conf_release) struct net_conf

/* Parse; unknown keys, repeated keys and bad values are E_INVALID with the line. */
int net_conf_parse(struct slice text, struct net_conf *conf, struct error *err) must_use_;
/*
 * Read NET_CONF_PATH, the defaults if there is none. A file that anyone but
 * root may write is refused. @conf: NET_CONF_INIT.
 */
int net_conf_load(struct net_conf *conf, struct error *err) must_use_;
/* Append the rules of NET_RULES_PATH, if there is one, as stage HOST_WIDE. */
int net_conf_load_rules(struct policy *policy, struct error *err) must_use_;

#endif
