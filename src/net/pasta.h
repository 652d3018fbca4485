/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PASTA_H
#define NET_PASTA_H

/*
 * pasta (package passt): makes a user and a network namespace, and carries what
 * leaves them into the host's network, without any privilege.
 */

#include <sys/types.h>

#include "base/attr.h"

struct error;

struct pasta {
	pid_t pid;
	int words; /* what it has said */
};
#define PASTA_INIT          \
	{                   \
		.words = -1 \
	}

/*
 * Start it with the holder (net/holder.h) inside, which listens on @listener.
 * It outlives us. Errors: pasta is not installed, /dev/net/tun is closed to us.
 */
int pasta_start(struct pasta *pasta, const char *dir, const char *pools, int listener,
		struct error *err) must_use_;
/* It failed, as @err says so far. Return: -err->code, with the reason as far as it can be seen. */
int pasta_explain(struct pasta *pasta, struct error *err) must_use_;
void pasta_release(struct pasta *pasta);

#endif
