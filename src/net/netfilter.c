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

/* Who reads the answer to a batch. */
struct reader {
	uint32_t sequence; /* of its last message */
	int forgiven; /* -errno that is none, 0: each is */
	mnl_cb_t each;
	void *arg;
};

/* Return: -errno, or 0 where it is not one. */
static int error_of(const struct nlmsghdr *header)
{
	if (header->nlmsg_type != NLMSG_ERROR ||
	    mnl_nlmsg_get_payload_len(header) < sizeof(struct nlmsgerr))
		return 0;
	return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(header))->error;
}

/*
 * Of a batch any message may have failed, and the last one is answered only if none did.
 * Return: 1 there is more, 0, or -errno.
 */
static int read_some(const struct reader *reader, const void *bytes, size_t len)
{
	int left = (int)len, r = 1;

	for (const struct nlmsghdr *h = bytes; r > 0 && mnl_nlmsg_ok(h, left);
	     h = mnl_nlmsg_next(h, &left)) {
		bool last = h->nlmsg_seq == reader->sequence;
		int code = error_of(h);

		if (code < 0 && code != reader->forgiven)
			return code;
		if (h->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		errno = EPROTO; /* of each(), unless it says another one */
		if (last)
			r = code < 0 ? 0
				     : mnl_cb_run(h, h->nlmsg_len, reader->sequence, 0,
						  reader->each, reader->arg);
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
static int talk(struct netfilter *nf, const void *bytes, size_t len, const struct reader *reader)
{
	uint64_t answer[ANSWER_MAX / sizeof(uint64_t)]; /* aligned */
	int r = 1;

	drain(nf);
	if (mnl_socket_sendto(nf->socket, bytes, len) < 0)
		return -errno;
	while (r > 0) {
		ssize_t n = mnl_socket_recvfrom(nf->socket, answer, sizeof(answer));

		if (n >= 0)
			r = read_some(reader, answer, (size_t)n);
		else if (errno != ENOBUFS)
			return -errno;
	}
	return r;
}

int netfilter_talk(struct netfilter *nf, const void *bytes, size_t len, mnl_cb_t each, void *arg)
{
	const struct reader reader = { nf->sequence, 0, each, arg };

	return talk(nf, bytes, len, &reader);
}

int netfilter_order(struct netfilter *nf, const void *bytes, size_t len, int forgiven)
{
	const struct reader reader = { nf->sequence, forgiven, NULL, NULL };

	return talk(nf, bytes, len, &reader);
}
