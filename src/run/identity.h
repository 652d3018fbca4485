/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_IDENTITY_H
#define RUN_IDENTITY_H

/*
 * Whom the engine runs as. QEMU is never root, and where `run` is root every
 * VM's QEMU has a user id of its own, so that a guest that took over its QEMU
 * cannot signal, trace or read another's.
 *
 * The ids lie in 0x70000000..0x7000ffff, which no convention assigns (systemd's
 * UIDS-GIDS.md). An id is claimed by an flock on /run/linzer/uid/<n>, held by
 * `run` as long as it lives: the kernel gives it back, whatever happens.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"

struct error;

struct identity {
	uid_t uid; /* also the group */
	bool drop; /* false: `run` is an ordinary user, QEMU runs as the same */
	int lock; /* -1 where nothing had to be claimed */
};
#define IDENTITY_INIT      \
	{                  \
		.lock = -1 \
	}

/* Claim one. */
int identity_claim(struct identity *identity, struct error *err) must_use_;
void identity_release(struct identity *identity);
#define auto_identity cleanup_(identity_release) struct identity

#endif
