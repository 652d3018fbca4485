/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_MESSAGE_H
#define NET_MESSAGE_H

/*
 * Sending, receiving and checking struct net_message (net/helper.h). One
 * message is one packet of a SOCK_SEQPACKET socket, with at most one
 * descriptor beside it.
 */

#include <stddef.h>

#include "net/helper.h"

/*
 * Is @bytes a NET_START that the keeper may act on? What its mode does not use
 * must be zero, the MAC one that a single card can have, each port there and no port of the host
 * twice. Return: 0, or -E_PROTOCOL.
 */
int net_message_check_start(const void *bytes, size_t len, struct error *err) must_use_;
/* The same for NET_COUNT; and for what the keeper says, its strings terminated. */
int net_message_check_count(const void *bytes, size_t len, struct error *err) must_use_;
int net_message_check_answer(const void *bytes, size_t len, struct error *err) must_use_;
/* The kind of a packet that begins as all do, 0 for one that does not. */
uint32_t net_message_kind(const void *bytes, size_t len);

/* Send one packet, with @fd unless it is -1 (it stays the caller's). Never raises SIGPIPE, never
 * waits. */
int net_message_send(int sock, const void *bytes, size_t len, int fd, struct error *err);
/*
 * Receive one packet of at most @size bytes; a descriptor that came with it
 * goes to *fd (else -1), or is closed where @fd is NULL. @flags: MSG_DONTWAIT.
 * Return: its length, -EAGAIN with MSG_DONTWAIT, -EPIPE at end of file, or error.
 */
int net_message_receive(int sock, void *bytes, size_t size, int flags, int *fd,
			struct error *err) must_use_;

#endif
