/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RESOLVERS_H
#define NET_RESOLVERS_H

/*
 * The host's resolvers: the nameserver lines of /etc/resolv.conf, read for
 * each query.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "base/str.h"

struct error;

/* As many as the C library uses. */
enum { RESOLVERS_MAX = 3, RESOLV_CONF_MAX = 64 * 1024 };

struct resolvers {
	struct sockaddr_storage items[RESOLVERS_MAX];
	unsigned count;
};

/* The addresses of @text's nameserver lines, a link-local one with its interface ("fe80::1%eth0");
 * 127.0.0.1 where there is none. */
void resolvers_parse(struct slice text, struct resolvers *resolvers);
/*
 * Send on @sock one byte, and with 1 a fresh socket of @type connected to
 * resolver @number; unless @outside is -1, that process opens it (net/outside.h). Return: 0, or
 * error where @sock is broken.
 */
int resolvers_hand_out(int sock, int outside, int type, unsigned number,
		       struct error *err) must_use_;

#endif
