/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nft.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/process.h"

enum {
	ANSWER_MAX = 16 * 1024 * 1024,
	TIME_LIMIT_MS = 10 * 1000,
	LOCK_FD = 3,
	EVENT_MAX = 32 * 1024,
	EVENTS_MAX = 1024 * 1024, /* that wait: a policy of some thousand rules */
};

static const char *find_nft(void)
{
	static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft" };

	for (size_t i = 0; i < array_size(places); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

int nft_run(const struct str *text, int lock, struct str *answer, struct error *err)
{
	static const char *const nothing[] = { NULL };
	const char *argv[] = { find_nft(), "-a", "-f", "-", NULL };
	struct process_fd fds[] = { { lock, LOCK_FD } };
	struct process_spec spec = {
		.argv = argv,
		.env = nothing,
		.fds = fds,
		.fd_count = lock < 0 ? 0 : array_size(fds),
		.no_new_privs = true,
	};
	auto_str errors = STR_INIT;
	int status;

	if (!argv[0])
		return error_set(err, E_MISSING_TOOL, "nft is not installed (package 'nftables')");
	status = process_run(&spec, text, answer, ANSWER_MAX, &errors, TIME_LIMIT_MS, err);
	if (status < 0)
		return status;
	if (status == 0)
		return 0;
	errors.ptr[strcspn(errors.ptr, "\n")] = '\0';
	return error_set(err, strstr(errors.ptr, "No such file") ? ENOENT : E_FAILED,
			 "nft failed: %s", errors.ptr);
}

int nft_watch(struct error *err)
{
	const struct sockaddr_nl group = {
		.nl_family = AF_NETLINK,
		.nl_groups = 1U << (NFNLGRP_NFTABLES - 1),
	};
	const int room = EVENTS_MAX;
	auto_fd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&group, sizeof(group)) < 0)
		return error_errno(err, "cannot watch the filter");
	/* refused outside the first user namespace: news are lost a little earlier */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return take_fd(&fd);
}

/* mnl_attr_for_each() is not clean with -Wconversion, parsing by callbacks is. */
static int read_table_name(const struct nlattr *a, void *arg)
{
	const char **name = arg;

	if (mnl_attr_get_type(a) == NFTA_TABLE_NAME &&
	    mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
		*name = mnl_attr_get_str(a);
	return MNL_CB_OK;
}

static bool removes_table(const struct nlmsghdr *header, const char *name)
{
	const char *removed = "";

	if (header->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE))
		return false;
	(void)mnl_attr_parse(header, sizeof(struct nfgenmsg), read_table_name, &removed);
	return strcmp(removed, name) == 0;
}

/* Is there one that removes the table among the @len bytes of messages? */
static bool tells_removal(const void *news, int len, const char *name)
{
	for (const struct nlmsghdr *h = news; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len))
		if (removes_table(h, name))
			return true;
	return false;
}

enum nft_news nft_read_news(int watch, const char *name)
{
	uint64_t news[EVENT_MAX / sizeof(uint64_t)];
	ssize_t n;

	while ((n = recv(watch, news, sizeof(news), MSG_DONTWAIT | MSG_TRUNC)) >= 0) {
		if (n > (ssize_t)sizeof(news))
			return NFT_NEWS_LOST;
		if (tells_removal(news, (int)n, name))
			return NFT_TABLE_REMOVED;
	}
	/* else ENOBUFS: more came than the socket holds */
	return errno == EAGAIN || errno == EINTR ? NFT_NOTHING : NFT_NEWS_LOST;
}
