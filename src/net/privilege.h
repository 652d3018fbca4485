/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PRIVILEGE_H
#define NET_PRIVILEGE_H

#include "base/attr.h"

struct error;

/*
 * Keep CAP_NET_ADMIN (also for nft, by the ambient set), CAP_NET_RAW for the
 * packet socket and, where we are root, what the talker needs to become
 * another user; nothing else. Root's uid gives no capability back on exec.
 */
int privilege_take(struct error *err) must_use_;
/*
 * Keep CAP_NET_ADMIN alone, and as root CAP_KILL: the kernel asks for it even
 * when our end shall end the talker, which is another user.
 */
int privilege_reduce(struct error *err) must_use_;
/* Keep none, for ever. */
int privilege_drop(struct error *err) must_use_;

#endif
