/* SPDX-License-Identifier: Apache-2.0 */
#include "net/netfilter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include "base/error.h"

enum { ANSWER_MAX = 32 * 1024 };

int netfilter_open(struct netfilter *nf, struct error *err)
{
	if (nf->socket)
		return 0;
	nf->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!nf->socket || mnl_socket_bind(nf->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return error_errno(err, "cannot open netlink");
	return 0;
}

void netfilter_close(struct netfilter *nf)
{
	if (nf->socket)
		(void)mnl_socket_close(nf->socket);
	nf->socket = NULL;
}

struct nlmsghdr *netfilter_begin(struct netfilter *nf, void *bytes, uint16_t type, uint16_t flags,
				 uint8_t family)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(bytes);
	struct nfgenmsg *message;

	header->nlmsg_type = type;
	header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	header->nlmsg_seq = ++nf->sequence;
	message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
	message->nfgen_family = family;
	return header;
}

static bool is_error(const struct nlmsghdr *header)
{
	return header->nlmsg_type == NLMSG_ERROR &&
	       mnl_nlmsg_get_payload_len(header) >= sizeof(struct nlmsgerr) &&
	       ((const struct nlmsgerr *)mnl_nlmsg_get_payload(header))->error < 0;
}

/*
 * Of a batch any message may have failed, and the last one is answered only if none did.
 * Return: 1 there is more, 0, or -errno.
 */
static int read_some(const struct netfilter *nf, const void *bytes, size_t len, mnl_cb_t each,
		     void *arg)
{
	int left = (int)len, r = 1;

	for (const struct nlmsghdr *h = bytes; r > 0 && mnl_nlmsg_ok(h, left);
	     h = mnl_nlmsg_next(h, &left)) {
		if (is_error(h))
			return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
		if (h->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		if (h->nlmsg_seq == nf->sequence)
			r = mnl_cb_run(h, h->nlmsg_len, nf->sequence, 0, each, arg);
	}
	return r < 0 ? -errno : r;
}

/* What an older request left unread is not ours, and its room is needed. */
static void drain(const struct netfilter *nf)
{
	int fd = mnl_socket_get_fd(nf->socket);
	char byte;

	while (recv(fd, &byte, sizeof(byte), 0) >= 0 || errno == ENOBUFS)
		continue;
}

/*
 * The kernel answers before the sending returns: nothing to wait for. ENOBUFS: more messages of
 * a batch failed than the socket holds answers; the first ones are there.
 */
int netfilter_talk(struct netfilter *nf, const void *bytes, size_t len, mnl_cb_t each, void *arg)
{
	uint64_t answer[ANSWER_MAX / sizeof(uint64_t)]; /* aligned */
	int r = 1;

	drain(nf);
	if (mnl_socket_sendto(nf->socket, bytes, len) < 0)
		return -errno;
	while (r > 0) {
		ssize_t n = mnl_socket_recvfrom(nf->socket, answer, sizeof(answer));

		if (n >= 0)
			r = read_some(nf, answer, (size_t)n, each, arg);
		else if (errno != ENOBUFS)
			return -errno;
	}
	return r;
}
