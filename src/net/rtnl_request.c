/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rtnl_request.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

/* One message of the kernel's; libmnl's own limit is 8 KiB or a page. */
enum { MESSAGE_MAX = 32 * 1024, LIST_TRIES = 100 };

int rtnl_open(struct rtnl *nl, struct error *err)
{
	nl->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl->socket)
		return error_errno(err, "cannot open netlink");
	if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return error_errno(err, "cannot bind netlink");
	/* so that the kernel itself picks the local routes from what may be a million */
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_GET_STRICT_CHK, &(int){ 1 }, sizeof(int));
	return 0;
}

void rtnl_close(struct rtnl *nl)
{
	if (nl->socket)
		(void)mnl_socket_close(nl->socket);
	nl->socket = NULL;
}

void *rtnl_begin(struct rtnl *nl, struct rtnl_request *r, uint16_t type, uint16_t flags,
		 size_t fixed)
{
	memset(r, 0, sizeof(*r));
	r->header = mnl_nlmsg_put_header(r->bytes);
	r->header->nlmsg_type = type;
	r->header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	r->header->nlmsg_seq = ++nl->sequence;
	return mnl_nlmsg_put_extra_header(r->header, fixed);
}

int rtnl_talk(struct rtnl *nl, struct rtnl_request *r, mnl_cb_t each, void *arg)
{
	char answer[MESSAGE_MAX];
	unsigned port = mnl_socket_get_portid(nl->socket);
	int more;

	if (mnl_socket_sendto(nl->socket, r->header, r->header->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(nl->socket, answer, sizeof(answer));

		if (n < 0 && errno == EINTR) {
			more = 1;
			continue;
		}
		if (n < 0)
			return -errno;
		more = mnl_cb_run(answer, (size_t)n, nl->sequence, port, each, arg);
		if (more < 0)
			return -errno;
	} while (more > 0);
	return 0;
}

int rtnl_do(struct rtnl *nl, struct rtnl_request *r, const char *what, struct error *err)
{
	int code;

	r->header->nlmsg_flags |= NLM_F_ACK;
	code = rtnl_talk(nl, r, NULL, NULL);
	if (code == 0)
		return 0;
	errno = -code;
	return error_errno(err, "cannot %s", what);
}

static int dump_once(struct rtnl *nl, const struct rtnl_dump *dump)
{
	struct rtnl_request r;

	memcpy(rtnl_begin(nl, &r, dump->type, NLM_F_DUMP, dump->fixed_size), dump->fixed,
	       dump->fixed_size);
	return rtnl_talk(nl, &r, dump->each, dump->arg);
}

int rtnl_list(struct rtnl *nl, const struct rtnl_dump *dump, size_t *len, const char *what,
	      struct error *err)
{
	size_t before = *len;
	int code = dump_once(nl, dump);

	/* some came or went while they were listed: one may be missing */
	for (unsigned i = 0; code == -EINTR && i < LIST_TRIES; i++) {
		*len = before;
		rtnl_close(nl); /* with the rest of that list */
		if (rtnl_open(nl, err) < 0)
			return -err->code;
		code = dump_once(nl, dump);
	}
	if (code == 0)
		return 0;
	errno = -code;
	return error_errno(err, "cannot list the %s", what);
}

void rtnl_read_u32(const struct nlattr *a, uint32_t *value)
{
	if (mnl_attr_validate(a, MNL_TYPE_U32) == 0)
		*value = mnl_attr_get_u32(a);
}
