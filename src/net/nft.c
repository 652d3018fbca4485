/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nft.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/process.h"
#include "net/netfilter.h"

enum {
	ANSWER_MAX = 16 * 1024 * 1024,
	TIME_LIMIT_MS = 10 * 1000,
	LOCK_FD = 3,
	REQUEST_MAX = 256,
	NAME_AT = 40, /* of the program, in a generation's message: behind two numbers */
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

/*
 * Of a transaction's news the one that ends it: its generation, with whose it was. The
 * names of all that changed would come to each keeper of the host otherwise, for every guest that
 * starts. What one keeper's batch does (its program's name is in there, 40 bytes behind the
 * beginning) takes nothing from another one's guest.
 */
static int hear_generations(int fd)
{
	const uint32_t type = htons(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, type, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NAME_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x6c696e7a, 0, 3), /* linz */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NAME_AT + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x65722d6e, 0, 1), /* er-n */
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = { array_size(code), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

int nft_watch(struct error *err)
{
	const struct sockaddr_nl group = {
		.nl_family = AF_NETLINK,
		.nl_groups = 1U << (NFNLGRP_NFTABLES - 1),
	};
	auto_fd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);

	if (fd < 0 || hear_generations(fd) < 0 ||
	    bind(fd, (const struct sockaddr *)&group, sizeof(group)) < 0)
		return error_errno(err, "cannot watch the filter");
	return take_fd(&fd);
}

bool nft_read_news(int watch)
{
	char news;
	bool any = false;

	/* ENOBUFS: more came than the socket holds */
	while (recv(watch, &news, sizeof(news), MSG_DONTWAIT | MSG_TRUNC) >= 0 || errno == ENOBUFS)
		any = true;
	return any;
}

static int read_number(const struct nlattr *a, void *arg)
{
	uint64_t *number = arg;

	if (mnl_attr_get_type(a) == NFTA_TABLE_HANDLE && mnl_attr_validate(a, MNL_TYPE_U64) == 0)
		*number = be64toh(mnl_attr_get_u64(a));
	return MNL_CB_OK;
}

static int read_table(const struct nlmsghdr *header, void *number)
{
	return mnl_attr_parse(header, sizeof(struct nfgenmsg), read_number, number);
}

int nft_table_number(struct netfilter *nf, uint8_t family, const char *table, uint64_t *number,
		     struct error *err)
{
	char bytes[REQUEST_MAX];
	struct nlmsghdr *header =
		netfilter_begin(nf, bytes, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_ACK,
				family);
	int r;

	*number = 0;
	mnl_attr_put_strz(header, NFTA_TABLE_NAME, table);
	r = netfilter_talk(nf, header, header->nlmsg_len, read_table, number);
	if (r == 0 || r == -ENOENT)
		return 0;
	errno = -r;
	return error_errno(err, "cannot read the filter");
}
