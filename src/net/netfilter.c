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
	nf->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
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
 * Of a batch any message may have failed, and the last one is answered only if none did. What an
 * older request left unread is not ours. Return: 1 there is more, 0, or -errno.
 */
static int read_some(const struct netfilter *nf, const void *bytes, size_t len, uint32_t first,
		     mnl_cb_t each, void *arg)
{
	int left = (int)len, r = 1;

	for (const struct nlmsghdr *h = bytes; r > 0 && mnl_nlmsg_ok(h, left);
	     h = mnl_nlmsg_next(h, &left)) {
		if (h->nlmsg_seq - first > nf->sequence - first)
			continue;
		if (is_error(h))
			return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
		if (h->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		if (h->nlmsg_seq == nf->sequence)
			r = mnl_cb_run(h, h->nlmsg_len, nf->sequence, 0, each, arg);
	}
	return r < 0 ? -errno : r;
}

static uint32_t sequence_of(const void *bytes)
{
	return ((const struct nlmsghdr *)bytes)->nlmsg_seq;
}

int netfilter_talk(struct netfilter *nf, const void *bytes, size_t len, mnl_cb_t each, void *arg)
{
	uint64_t answer[ANSWER_MAX / sizeof(uint64_t)]; /* aligned */
	uint32_t first = sequence_of(bytes);
	int r = 1;

	if (mnl_socket_sendto(nf->socket, bytes, len) < 0)
		return -errno;
	while (r > 0) {
		ssize_t n = mnl_socket_recvfrom(nf->socket, answer, sizeof(answer));

		if (n < 0)
			return -errno;
		r = read_some(nf, answer, (size_t)n, first, each, arg);
	}
	return r;
}
