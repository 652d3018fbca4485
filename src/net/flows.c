/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The kernel filters its dump by the source of either direction of a flow (CTA_FILTER,
 * Linux 5.8), so that a busy host's other flows cost nothing here. The answers' source is whom
 * the flow reached. Each dump walks the whole table, empty places too, some milliseconds: where few
 * flows are in it, one dump of all of them is cheaper than two. Flows are deleted by their first
 * tuple and their identity, after the dump, many with one call.
 */

#include "net/flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "base/error.h"
#include "base/str.h"
#include "net/netfilter.h"

enum {
	FEW = 4096, /* flows on the host */
	REQUEST_MAX = 512,
	TUPLE_MAX = 192,
	BATCH_SIZE = 16 * 1024, /* bytes of requests in one send */
	/* net/netfilter/nf_internals.h of the kernel: what CTA_FILTER_ORIG_FLAGS may name */
	BY_SOURCE = 1,
};

struct review {
	struct netfilter *netfilter;
	struct in_addr guest;
	flows_judge *judge;
	void *arg;
	struct str deletions; /* requests, to be sent when the dump is over */
	int count; /* of them */
};

static void review_release(struct review *r)
{
	str_release(&r->deletions);
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

static void add_deletion(struct review *r, const struct entry *e)
{
	struct netfilter unsent = NETFILTER_INIT; /* it has its number when it is sent */
	char bytes[REQUEST_MAX] = { 0 };
	struct nlmsghdr *header =
		netfilter_begin(&unsent, bytes, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE,
				0, AF_INET);

	mnl_attr_put(header, CTA_TUPLE_ORIG | NLA_F_NESTED, mnl_attr_get_payload_len(e->tuple),
		     mnl_attr_get_payload(e->tuple));
	mnl_attr_put_u32(header, CTA_ID, e->id);
	str_add(&r->deletions, header, header->nlmsg_len);
	r->count++;
}

static int judge_entry(const struct nlmsghdr *header, void *arg)
{
	struct review *r = arg;
	struct entry e = { .has_id = false };
	struct flow flow;

	if (mnl_attr_parse(header, sizeof(struct nfgenmsg), read_entry, &e) < 0)
		return MNL_CB_ERROR;
	flow = flow_of(&e);
	if (!e.tuple || !e.has_id || mnl_attr_get_payload_len(e.tuple) > TUPLE_MAX)
		return MNL_CB_OK;
	if (flow.source.s_addr != r->guest.s_addr && flow.target.s_addr != r->guest.s_addr)
		return MNL_CB_OK;
	if (r->judge(r->arg, &flow))
		add_deletion(r, &e);
	return MNL_CB_OK;
}

static struct nlmsghdr *begin_dump(struct review *r, void *bytes)
{
	return netfilter_begin(r->netfilter, bytes, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET,
			       NLM_F_DUMP, AF_INET);
}

static int dump(struct review *r, const struct nlmsghdr *header)
{
	return netfilter_talk(r->netfilter, header, header->nlmsg_len, judge_entry, r);
}

/* Numbers of the table as a whole. */
struct statistics {
	uint32_t count, room;
};

static int read_number(const struct nlattr *a, void *arg)
{
	struct statistics *s = arg;

	if (mnl_attr_validate(a, MNL_TYPE_U32) < 0)
		return MNL_CB_OK;
	if (mnl_attr_get_type(a) == CTA_STATS_GLOBAL_ENTRIES)
		s->count = ntohl(mnl_attr_get_u32(a));
	else if (mnl_attr_get_type(a) == CTA_STATS_GLOBAL_MAX_ENTRIES)
		s->room = ntohl(mnl_attr_get_u32(a));
	return MNL_CB_OK;
}

static int read_statistics(const struct nlmsghdr *header, void *arg)
{
	return mnl_attr_parse(header, sizeof(struct nfgenmsg), read_number, arg);
}

/* What the kernel does not say stays as it is. Return: 0 or -errno. */
static int ask_statistics(struct netfilter *nf, struct statistics *s)
{
	char bytes[REQUEST_MAX] = { 0 };
	struct nlmsghdr *header =
		netfilter_begin(nf, bytes, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS,
				NLM_F_ACK, AF_INET);

	return netfilter_talk(nf, header, header->nlmsg_len, read_statistics, s);
}

int flows_room(struct netfilter *nf, uint32_t *max, struct error *err)
{
	struct statistics s = { .room = 0 };
	int r = ask_statistics(nf, &s);

	*max = s.room;
	if (r == 0)
		return 0;
	errno = -r;
	return error_errno(err, "cannot ask how many connections the host may have");
}

static int list_all(struct review *r)
{
	char bytes[REQUEST_MAX] = { 0 };

	return dump(r, begin_dump(r, bytes));
}

/* @direction: whose source is the guest, CTA_TUPLE_ORIG or CTA_TUPLE_REPLY. */
static int list_from(struct review *r, uint16_t direction)
{
	bool asked = direction == CTA_TUPLE_ORIG;
	char bytes[REQUEST_MAX] = { 0 };
	struct nlmsghdr *header = begin_dump(r, bytes);
	struct nlattr *tuple = mnl_attr_nest_start(header, direction);
	struct nlattr *inner = mnl_attr_nest_start(header, CTA_TUPLE_IP);

	mnl_attr_put_u32(header, CTA_IP_V4_SRC, r->guest.s_addr);
	mnl_attr_nest_end(header, inner);
	mnl_attr_nest_end(header, tuple);
	inner = mnl_attr_nest_start(header, CTA_FILTER);
	mnl_attr_put_u32(header, CTA_FILTER_ORIG_FLAGS, asked ? BY_SOURCE : 0);
	mnl_attr_put_u32(header, CTA_FILTER_REPLY_FLAGS, asked ? 0 : BY_SOURCE);
	mnl_attr_nest_end(header, inner);
	return dump(r, header);
}

/* The request at @at of r->deletions. */
static struct nlmsghdr *deletion(const struct review *r, size_t at)
{
	return (void *)(r->deletions.ptr + at);
}

/* What ended meanwhile is no failure. */
static int delete_all(struct review *r)
{
	size_t at = 0, last = 0, end = 0;
	int code = 0;

	while (code == 0 && at < r->deletions.len) {
		while (end < r->deletions.len && end - at < BATCH_SIZE) {
			last = end;
			end += deletion(r, end)->nlmsg_len;
		}
		deletion(r, last)->nlmsg_flags |= NLM_F_ACK;
		deletion(r, last)->nlmsg_seq = ++r->netfilter->sequence;
		code = netfilter_order(r->netfilter, r->deletions.ptr + at, end - at, -ENOENT);
		at = end;
	}
	return code;
}

static int list(struct review *r)
{
	struct statistics s = { .count = UINT32_MAX };
	int code = ask_statistics(r->netfilter, &s);

	if (code < 0)
		return code;
	if (s.count <= FEW)
		return list_all(r);
	code = list_from(r, CTA_TUPLE_ORIG);
	return code < 0 ? code : list_from(r, CTA_TUPLE_REPLY);
}

int flows_review(struct netfilter *nf, struct in_addr guest, flows_judge *judge, void *arg,
		 struct error *err)
{
	cleanup_(review_release) struct review r = {
		.netfilter = nf, .guest = guest, .judge = judge, .arg = arg, .deletions = STR_INIT
	};
	int code = list(&r);

	if (code == 0)
		code = delete_all(&r);
	if (code == 0)
		return r.count;
	errno = -code;
	return error_errno(err, "cannot review the open connections");
}

static bool always(void *arg, const struct flow *flow)
{
	(void)arg;
	(void)flow;
	return true;
}

int flows_forget(struct netfilter *nf, struct in_addr guest, struct error *err)
{
	return flows_review(nf, guest, always, NULL, err);
}
