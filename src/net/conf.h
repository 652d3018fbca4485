/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CONF_H
#define NET_CONF_H

/*
 * /etc/linzer/net.conf: what root lets users have. Lines of "key = value",
 * "#" begins a comment. Keys: subnet (default 192.168.64.0/24).
 */

#include "base/str.h"
#include "net/subnet.h"

#define NET_CONF_PATH "/etc/linzer/net.conf"

enum { NET_CONF_SIZE_MAX = 16 * 1024 };

struct net_conf {
	struct subnet subnet;
};

/* Parse; unknown keys, repeated keys and bad values are E_INVALID with the line. */
int net_conf_parse(struct slice text, struct net_conf *conf, struct error *err) must_use_;
/*
 * Read NET_CONF_PATH, the defaults if there is none. A file that anyone but
 * root may write is refused.
 */
int net_conf_load(struct net_conf *conf, struct error *err) must_use_;

#endif
