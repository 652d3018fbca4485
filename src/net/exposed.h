/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_EXPOSED_H
#define NET_EXPOSED_H

#include "base/attr.h"
#include "net/helper.h"

/*
 * The keeper's side of expose: listening TCP sockets on all of the host's
 * addresses, 127.0.0.1 included, in the network namespace of the caller.
 * fds[i] belongs to exposed[i]. Nothing is left open after a failure.
 * Errors: a taken port is one clear line with its number.
 */
int exposed_listen(const struct net_exposed *exposed, unsigned count, int *fds,
		   struct error *err) must_use_;

#endif
