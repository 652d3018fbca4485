/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_NET_OPTIONS_H
#define RUN_NET_OPTIONS_H

/*
 * What the network options of `run` mean (contract 7.1, 7.3): read and checked
 * before anything is started.
 */

#include "base/attr.h"
#include "base/vec.h"
#include "net/helper.h"

struct error;

struct net_options {
	int mode; /* enum net_mode; 0: no network card */
	struct strings allow, block; /* Softnet's targets, one each */
	struct strings bridged; /* NET_BRIDGED: whose LANs, one card each */
	struct net_exposed exposed[NET_EXPOSED_MAX];
	unsigned exposed_count;
	int control; /* a socket for changes of the running VM's policy; -1: none */
};
#define NET_OPTIONS_INIT                                                                       \
	{                                                                                      \
		.mode = NET_SHARED, .allow = VEC_INIT, .block = VEC_INIT, .bridged = VEC_INIT, \
		.control = -1                                                                  \
	}
void net_options_release(struct net_options *options);
#define auto_net_options cleanup_(net_options_release) struct net_options

/*
 * Append the targets of @list, which commas separate, without the spaces around them. An
 * empty list has none; an empty target is one, for softnet_compile() to refuse.
 */
void net_options_add_targets(struct strings *targets, const char *list);
/* Add "EXTERNAL:INTERNAL[,...]". Errors: E_INVALID with the part that is wrong. */
int net_options_add_exposed(struct net_options *options, const char *list,
			    struct error *err) must_use_;
/* Are these lists that Softnet would take? E_INVALID, E_TOO_BIG: which target of which option. */
int net_options_check_targets(const struct strings *allow, const struct strings *block,
			      struct error *err) must_use_;

/* Interfaces that a card can be bridged to, sorted: all Ethernet ones of this network namespace but
 * our own and but ports of bridges. */
int net_interfaces_list(struct strings *names, struct error *err) must_use_;
/* Are all of @wanted among them? "list" never is. E_USAGE with the contract's text names them all.
 */
int net_interfaces_check(const struct strings *wanted, struct error *err) must_use_;

/* Is @fd above 2 and a connected Unix stream socket? It becomes close-on-exec. E_USAGE. */
int net_control_check(int fd, struct error *err) must_use_;

#endif
