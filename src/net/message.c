/* SPDX-License-Identifier: Apache-2.0 */
#include "net/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"

static bool is_zero(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static int read_header(const void *bytes, size_t len, struct net_message *m, struct error *err)
{
	if (len != sizeof(*m))
		return error_set(err, E_PROTOCOL, "network helper: message of %zu bytes", len);
	memcpy(m, bytes, sizeof(*m));
	if (m->magic != NET_MAGIC || !is_zero(m->reserved, sizeof(m->reserved)))
		return error_set(err, E_PROTOCOL, "network helper: not a message of its protocol");
	return 0;
}

int net_message_check_start(const void *bytes, size_t len, struct error *err)
{
	struct net_message m;
	int r = read_header(bytes, len, &m, err);

	if (r < 0)
		return r;
	if (m.kind != NET_START)
		return error_set(err, E_PROTOCOL, "network helper: expected a request to start");
	if ((m.mac[0] & 1) || is_zero(m.mac, sizeof(m.mac)))
		return error_set(err, E_PROTOCOL, "network helper: not the MAC of a card");
	if (m.address.s_addr || m.gateway.s_addr || m.prefix ||
	    !is_zero(m.interface, sizeof(m.interface)) || !is_zero(m.text, sizeof(m.text)))
		return error_set(err, E_PROTOCOL,
				 "network helper: request with an answer's fields");
	return 0;
}

int net_message_check_answer(const void *bytes, size_t len, struct error *err)
{
	struct net_message m;
	int r = read_header(bytes, len, &m, err);

	if (r < 0)
		return r;
	if (m.kind <= NET_START || m.kind >= NET_KIND_MAX)
		return error_set(err, E_PROTOCOL, "network helper: answer of unknown kind");
	if (!memchr(m.interface, '\0', sizeof(m.interface)) ||
	    !memchr(m.text, '\0', sizeof(m.text)))
		return error_set(err, E_PROTOCOL, "network helper: answer without an end of text");
	return 0;
}

int net_message_send(int sock, const void *bytes, size_t len, int fd, struct error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return error_errno(err, "network helper: cannot send");
	return 0;
}

/* The descriptor that came with @msg (the kernel closes those that do not fit), or -1. */
static int take_descriptor(struct msghdr *msg)
{
	int fd = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

int net_message_receive(int sock, void *bytes, size_t size, int flags, int *fd, struct error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	auto_fd came = -1;
	ssize_t n;

	msg.msg_control = control.bytes;
	msg.msg_controllen = sizeof(control.bytes);
	do
		n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_errno(err, "network helper: cannot receive");
	came = take_descriptor(&msg);
	if (n == 0)
		return error_set(err, EPIPE, "the network helper ended");
	if (msg.msg_flags & MSG_TRUNC)
		return error_set(err, E_PROTOCOL, "network helper: message too long");
	if (fd)
		*fd = take_fd(&came);
	return (int)n;
}
