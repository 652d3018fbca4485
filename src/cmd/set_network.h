/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_SET_NETWORK_H
#define CMD_SET_NETWORK_H

/* What `set` changes of a VM's network (store/network.h): first all of it is read, then written. */

#include <netinet/in.h>

#include "base/attr.h"
#include "base/str.h"

struct error;
struct vm;

/* From the command line. */
struct network_options {
	const char *filter; /* --net-filter FILE|-|off; NULL: not given */
	const char *ip; /* --ip ADDRESS|auto; NULL: not given */
	int local; /* --local 1, --no-local 0; -1: not given */
};

enum filter_change { FILTER_KEEP, FILTER_SET, FILTER_REMOVE };
struct network_change {
	enum filter_change filter;
	struct str text; /* FILTER_SET */
	bool change_ip, change_local;
	struct in_addr ip; /* 0.0.0.0: auto */
	bool no_local;
};
#define NETWORK_CHANGE_INIT       \
	{                         \
		.text = STR_INIT, \
	}
void network_change_release(struct network_change *change);
#define auto_network_change cleanup_(network_change_release) struct network_change

/*
 * Read and check what is wanted; "-" is the standard input. Errors: `FILE: line L, column C: ...`
 * for a mistake in a filter, E_INVALID for an address that no VM can have, E_TOO_BIG.
 */
int network_change_prepare(const struct network_options *options, struct network_change *change,
			   struct error *err) must_use_;
/* Write it; takes vm_lock(). Where nothing is to change nothing is done. */
int network_change_apply(const struct vm *vm, const struct network_change *change,
			 struct error *err) must_use_;

#endif
