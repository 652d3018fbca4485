/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_SANDBOX_H
#define NET_SANDBOX_H

#include <sys/types.h>

#include "base/attr.h"

struct error;

/*
 * Become nobody, for ever, and until the parent ends: as root user and group @id; no capability, no
 * new privileges, no file system (Landlock), and only the system calls that the talker's loop
 * needs. sendto() with an address works on @answers alone, so the other sockets reach only whom
 * they are connected to.
 */
int sandbox_enter(uid_t id, pid_t parent, int answers, struct error *err) must_use_;

#endif
