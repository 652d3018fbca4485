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

static int not_ours(struct error *err)
{
	return error_set(err, E_PROTOCOL, "network helper: not a message of its protocol");
}

uint32_t net_message_kind(const void *bytes, size_t len)
{
	uint32_t head[2]; /* magic, kind */

	if (len < sizeof(head))
		return 0;
	memcpy(head, bytes, sizeof(head));
	return head[0] == NET_MAGIC && head[1] < NET_KIND_MAX ? head[1] : 0;
}

static bool is_card(const uint8_t mac[6])
{
	return !(mac[0] & 1) && !is_zero(mac, 6);
}

static int check_exposed(const struct net_start *start, struct error *err)
{
	if (start->exposed_count > NET_EXPOSED_MAX)
		return error_set(err, E_PROTOCOL, "network helper: too many exposed ports");
	for (uint32_t i = 0; i < start->exposed_count; i++) {
		if (!start->exposed[i].host || !start->exposed[i].guest)
			return error_set(err, E_PROTOCOL, "network helper: port 0");
		for (uint32_t k = 0; k < i; k++)
			if (start->exposed[k].host == start->exposed[i].host)
				return error_set(err, E_PROTOCOL,
						 "network helper: a port exposed twice");
	}
	if (!is_zero(start->exposed + start->exposed_count,
		     (NET_EXPOSED_MAX - start->exposed_count) * sizeof(start->exposed[0])))
		return not_ours(err);
	return 0;
}

/* An interface that cards are bridged to, and nothing that only routed ones have; or neither. */
static bool fits_mode(const struct net_start *start)
{
	size_t len = strnlen(start->interface, sizeof(start->interface));

	if (len == sizeof(start->interface) ||
	    !is_zero(start->interface + len, sizeof(start->interface) - len))
		return false;
	if (start->mode != NET_BRIDGED)
		return len == 0;
	return len > 0 && !start->wanted.s_addr && !start->exposed_count;
}

int net_message_check_start(const void *bytes, size_t len, struct error *err)
{
	struct net_start start;

	if (net_message_kind(bytes, len) != NET_START || len != sizeof(start))
		return not_ours(err);
	memcpy(&start, bytes, sizeof(start));
	if (!is_card(start.mac))
		return error_set(err, E_PROTOCOL, "network helper: not the MAC of a card");
	if (start.mode == 0 || start.mode >= NET_MODE_MAX || start.fixed > 1 ||
	    (start.fixed && !start.wanted.s_addr) || !fits_mode(&start))
		return error_set(err, E_PROTOCOL, "network helper: not a mode of the network");
	return check_exposed(&start, err);
}

int net_message_check_count(const void *bytes, size_t len, struct error *err)
{
	if (net_message_kind(bytes, len) != NET_COUNT || len != sizeof(struct net_message) ||
	    !is_zero((const uint8_t *)bytes + 8, len - 8))
		return not_ours(err);
	return 0;
}

int net_message_check_answer(const void *bytes, size_t len, struct error *err)
{
	uint32_t kind = net_message_kind(bytes, len);
	struct net_message m;

	if (len != sizeof(m))
		return error_set(err, E_PROTOCOL, "network helper: message of %zu bytes", len);
	memcpy(&m, bytes, sizeof(m));
	if (kind < NET_STARTED || kind >= NET_KIND_MAX)
		return error_set(err, E_PROTOCOL, "network helper: answer of unknown kind");
	if (!memchr(m.interface, '\0', sizeof(m.interface)) ||
	    !memchr(m.neighbours, '\0', sizeof(m.neighbours)) ||
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
	/* its padding would be room for a second descriptor, which nobody would close */
	msg.msg_controllen = CMSG_LEN(sizeof(int));
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
