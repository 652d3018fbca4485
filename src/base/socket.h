/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SOCKET_H
#define BASE_SOCKET_H

/*
 * Bytes with a descriptor beside them over AF_UNIX (unix(7), SCM_RIGHTS), and what a listener does
 * when the system has no more to give.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"

/*
 * sendmsg() of @len bytes, with @fd unless it is negative (it stays the caller's). Never raises
 * SIGPIPE. @flags: MSG_DONTWAIT. Return: how many bytes went, or -errno.
 */
ssize_t socket_send(int sock, const void *bytes, size_t len, int fd, int flags) must_use_;
/*
 * recvmsg() of at most @len bytes. A descriptor that came with them replaces *fd (CLOEXEC; what was
 * there is closed); the kernel closes further ones. Return: how many bytes came, or -errno.
 */
ssize_t socket_receive(int sock, void *bytes, size_t len, int *fd, int flags) must_use_;
/* Was it a process of this user that connected, or listened (SO_PEERCRED)? */
bool socket_peer_is(int sock, uid_t user);

/*
 * A listener whose accept() failed for want of descriptors or memory stays readable: who waits for
 * that alone would turn at full speed. It is looked at no more for so long.
 */
enum { SOCKET_REST_MS = 250 };
/* Is @error, of accept(), of that kind? */
bool socket_must_rest(int error);

#endif
