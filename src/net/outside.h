/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_OUTSIDE_H
#define NET_OUTSIDE_H

/*
 * A process that stays in the host's network namespace when the keeper leaves
 * it, and opens sockets to the host's resolvers for it: over UDP and TCP, as
 * /etc/resolv.conf is at that moment, on 127.0.0.53, too. It ends with the socket.
 */

#include "base/attr.h"

struct error;

/* Return: the socket to it, for resolvers_hand_out(); or error. */
int outside_start(struct error *err) must_use_;
/* A socket of @type connected (or connecting) to resolver @number, or -1. */
int outside_connect(int outside, int type, unsigned number) must_use_;

#endif
