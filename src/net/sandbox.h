/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_SANDBOX_H
#define NET_SANDBOX_H

#include <sys/types.h>

#include "base/attr.h"

struct error;

struct sandbox {
	uid_t id; /* of user and group, from root on */
	pid_t parent; /* lives no longer than this */
	unsigned files; /* how many it may have open */
	int answers; /* a socket that may send to whom it likes, and stays open; -1: none */
	int silent; /* a socket that may not send; -1: none */
};

/*
 * Become nobody, for ever: no capability, no new privileges, no file system
 * (Landlock), and only the system calls that the talker's loop needs. Beside
 * `answers` sockets send only to whom they are connected.
 */
int sandbox_enter(const struct sandbox *sandbox, struct error *err) must_use_;

#endif
