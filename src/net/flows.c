/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernel filters its dump by the source of either direction of a flow (CTA_FILTER,
 * Linux 5.8), so that a busy host's other flows cost nothing here. The answers' source is whom
 * the flow reached. Flows are deleted by their first tuple and their identity, after the dump.
 */

#include "net/flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>

#include "base/error.h"
#include "base/vec.h"

enum {
	MESSAGE_MAX = 32 * 1024,
	REQUEST_MAX = 512,
	TUPLE_MAX = 192,
	/* net/netfilter/nf_internals.h of the kernel: what CTA_FILTER_ORIG_FLAGS may name */
	BY_SOURCE = 1,
};

/* One that is to go: its tuple as the kernel gave it. */
struct doomed {
	uint8_t tuple[TUPLE_MAX];
	uint16_t tuple_len;
	uint32_t id; /* network byte order */
};
DEFINE_VEC(doomed_flows, struct doomed)

struct review {
	struct mnl_socket *socket;
	uint32_t sequence;
	flows_judge *judge;
	void *arg;
	struct doomed_flows doomed;
};

static void review_release(struct review *r)
{
	if (r->socket)
		(void)mnl_socket_close(r->socket);
	doomed_flows_release(&r->doomed);
}

/* One direction. */
struct tuple {
	struct in_addr source, target;
	uint16_t source_port, target_port;
	uint8_t protocol;
};

/* What of an entry matters. */
struct entry {
	struct tuple asked, answer;
	const struct nlattr *tuple;
	uint32_t id;
	bool has_id;
};

static int read_address(const struct nlattr *a, void *arg)
{
	struct tuple *tuple = arg;

	if (mnl_attr_validate(a, MNL_TYPE_U32) < 0)
		return MNL_CB_OK;
	if (mnl_attr_get_type(a) == CTA_IP_V4_SRC)
		tuple->source.s_addr = mnl_attr_get_u32(a);
	if (mnl_attr_get_type(a) == CTA_IP_V4_DST)
		tuple->target.s_addr = mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

static int read_protocol(const struct nlattr *a, void *arg)
{
	struct tuple *tuple = arg;

	switch (mnl_attr_get_type(a)) {
	case CTA_PROTO_NUM:
		if (mnl_attr_validate(a, MNL_TYPE_U8) == 0)
			tuple->protocol = mnl_attr_get_u8(a);
		break;
	case CTA_PROTO_SRC_PORT:
		if (mnl_attr_validate(a, MNL_TYPE_U16) == 0)
			tuple->source_port = ntohs(mnl_attr_get_u16(a));
		break;
	case CTA_PROTO_DST_PORT:
		if (mnl_attr_validate(a, MNL_TYPE_U16) == 0)
			tuple->target_port = ntohs(mnl_attr_get_u16(a));
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static int read_tuple(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) == CTA_TUPLE_IP)
		return mnl_attr_parse_nested(a, read_address, arg);
	if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO)
		return mnl_attr_parse_nested(a, read_protocol, arg);
	return MNL_CB_OK;
}

static int read_entry(const struct nlattr *a, void *arg)
{
	struct entry *e = arg;

	if (mnl_attr_get_type(a) == CTA_TUPLE_ORIG) {
		e->tuple = a;
		return mnl_attr_parse_nested(a, read_tuple, &e->asked);
	}
	if (mnl_attr_get_type(a) == CTA_TUPLE_REPLY)
		return mnl_attr_parse_nested(a, read_tuple, &e->answer);
	if (mnl_attr_get_type(a) == CTA_ID && mnl_attr_validate(a, MNL_TYPE_U32) == 0) {
		e->id = mnl_attr_get_u32(a);
		e->has_id = true;
	}
	return MNL_CB_OK;
}

static struct flow flow_of(const struct entry *e)
{
	return (struct flow){
		.source = e->asked.source,
		.asked = e->asked.target,
		.target = e->answer.source,
		.source_port = e->asked.source_port,
		.asked_port = e->asked.target_port,
		.target_port = e->answer.source_port,
		.protocol = e->asked.protocol,
	};
}

static int judge_entry(const struct nlmsghdr *header, void *arg)
{
	struct review *r = arg;
	struct entry e = { .has_id = false };
	struct doomed doomed = { .tuple_len = 0 };
	struct flow flow;

	if (mnl_attr_parse(header, sizeof(struct nfgenmsg), read_entry, &e) < 0)
		return MNL_CB_ERROR;
	flow = flow_of(&e);
	if (!e.tuple || !e.has_id || mnl_attr_get_payload_len(e.tuple) > TUPLE_MAX ||
	    !r->judge(r->arg, &flow))
		return MNL_CB_OK;
	doomed.tuple_len = mnl_attr_get_payload_len(e.tuple);
	memcpy(doomed.tuple, mnl_attr_get_payload(e.tuple), doomed.tuple_len);
	doomed.id = e.id;
	doomed_flows_add(&r->doomed, doomed);
	return MNL_CB_OK;
}

static struct nlmsghdr *begin(struct review *r, void *bytes, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *header = mnl_nlmsg_put_header(bytes);
	struct nfgenmsg *family;

	header->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	header->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	header->nlmsg_seq = ++r->sequence;
	family = mnl_nlmsg_put_extra_header(header, sizeof(*family));
	family->nfgen_family = AF_INET;
	return header;
}

/* Send, and give each message of the answer to @each. Return: 0 or -errno. */
static int talk(struct review *r, const struct nlmsghdr *header, mnl_cb_t each)
{
	char answer[MESSAGE_MAX];
	unsigned port = mnl_socket_get_portid(r->socket);
	int more;

	if (mnl_socket_sendto(r->socket, header, header->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(r->socket, answer, sizeof(answer));

		if (n < 0)
			return -errno;
		more = mnl_cb_run(answer, (size_t)n, header->nlmsg_seq, port, each, r);
		if (more < 0)
			return -errno;
	} while (more > 0);
	return 0;
}

/* @direction: whose source is the guest, CTA_TUPLE_ORIG or CTA_TUPLE_REPLY. */
static int list(struct review *r, struct in_addr guest, uint16_t direction)
{
	bool asked = direction == CTA_TUPLE_ORIG;
	char bytes[REQUEST_MAX] = { 0 };
	struct nlmsghdr *header = begin(r, bytes, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
	struct nlattr *tuple = mnl_attr_nest_start(header, direction);
	struct nlattr *inner = mnl_attr_nest_start(header, CTA_TUPLE_IP);

	mnl_attr_put_u32(header, CTA_IP_V4_SRC, guest.s_addr);
	mnl_attr_nest_end(header, inner);
	mnl_attr_nest_end(header, tuple);
	inner = mnl_attr_nest_start(header, CTA_FILTER);
	mnl_attr_put_u32(header, CTA_FILTER_ORIG_FLAGS, asked ? BY_SOURCE : 0);
	mnl_attr_put_u32(header, CTA_FILTER_REPLY_FLAGS, asked ? 0 : BY_SOURCE);
	mnl_attr_nest_end(header, inner);
	return talk(r, header, judge_entry);
}

static int delete_one(struct review *r, const struct doomed *d)
{
	char bytes[REQUEST_MAX] = { 0 };
	struct nlmsghdr *header = begin(r, bytes, IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
	int code;

	mnl_attr_put(header, CTA_TUPLE_ORIG | NLA_F_NESTED, d->tuple_len, d->tuple);
	mnl_attr_put_u32(header, CTA_ID, d->id);
	code = talk(r, header, NULL);
	/* it ended meanwhile */
	return code == -ENOENT ? 0 : code;
}

/* Return: how many went, or -errno. */
static int review_all(struct review *r, struct in_addr guest)
{
	int code = list(r, guest, CTA_TUPLE_ORIG);

	if (code == 0)
		code = list(r, guest, CTA_TUPLE_REPLY);
	for (size_t i = 0; code == 0 && i < r->doomed.len; i++)
		code = delete_one(r, &r->doomed.items[i]);
	return code < 0 ? code : (int)r->doomed.len;
}

int flows_review(struct in_addr guest, flows_judge *judge, void *arg, struct error *err)
{
	cleanup_(review_release) struct review r = { .judge = judge,
						     .arg = arg,
						     .doomed = VEC_INIT };
	int code;

	r.socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!r.socket || mnl_socket_bind(r.socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return error_errno(err, "cannot open netlink");
	code = review_all(&r, guest);
	if (code >= 0)
		return code;
	errno = -code;
	return error_errno(err, "cannot review the open connections");
}

static bool always(void *arg, const struct flow *flow)
{
	(void)arg;
	(void)flow;
	return true;
}

int flows_forget(struct in_addr guest, struct error *err)
{
	return flows_review(guest, always, NULL, err);
}
