/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RUNTIME_DIR_H
#define NET_RUNTIME_DIR_H

/*
 * The directory of an ordinary user in which his keepers find each other:
 * $XDG_RUNTIME_DIR/linzer-net, else /run/user/UID/linzer-net, else
 * /tmp/linzer-net-UID. It is there while one of them runs. Its flock is held
 * while somebody joins, starts or ends the holder (net/holder.h).
 */

#include "base/lock.h"
#include "base/str.h"

struct error;

#define RUNTIME_DIR_SOCKET "holder" /* the holder listens there */
#define RUNTIME_DIR_NETWORK "network" /* a directory: the lock of net/network.h */

/* Its path; it need not be there. Its sockets' paths fit into a sockaddr_un. */
void runtime_dir_find(struct str *path);
/*
 * Make it where it is absent, and lock it. A directory that others own, or may
 * enter, is refused. Return: the descriptor, which is the lock; -EWOULDBLOCK with LOCK_TRY
 * where another holds it; or error.
 */
int runtime_dir_lock(const char *path, enum lock_wait wait, struct error *err) must_use_;
/* Remove it with what we keep in it. Only who has the lock may. */
void runtime_dir_remove(const char *path);

#endif
