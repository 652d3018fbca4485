/* SPDX-License-Identifier: Apache-2.0 */
#include "net/netdev_flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "base/error.h"
#include "net/netfilter.h"

enum {
	REQUEST_MAX = 256,
	LIST_TRIES = 100,
	/* the parts of a key take whole words: address, identifier; address, protocol, two ports */
	PING_KEY = 8,
	FLOW_KEY = 16,
};

struct reading {
	enum policy_direction direction;
	bool pings;
	struct rules_flows *flows;
};

static uint16_t port_at(const uint8_t *key)
{
	return (uint16_t)(key[0] << 8 | key[1]);
}

static int add_flow(const struct reading *r, const uint8_t *key, size_t len)
{
	struct rules_flow flow = { .direction = r->direction };

	if (len != (r->pings ? PING_KEY : FLOW_KEY))
		return MNL_CB_ERROR;
	memcpy(&flow.remote, key, sizeof(flow.remote));
	flow.protocol = r->pings ? IPPROTO_ICMP : key[4];
	flow.guest_port = port_at(key + (r->pings ? 4 : 8));
	flow.remote_port = r->pings ? flow.guest_port : port_at(key + 12);
	rules_flows_add(r->flows, flow);
	return MNL_CB_OK;
}

static int read_key(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) != NFTA_DATA_VALUE)
		return MNL_CB_OK;
	return add_flow(arg, mnl_attr_get_payload(a), mnl_attr_get_payload_len(a));
}

static int read_element(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) != NFTA_SET_ELEM_KEY)
		return MNL_CB_OK;
	return mnl_attr_parse_nested(a, read_key, arg);
}

static int read_list(const struct nlattr *a, void *arg)
{
	return mnl_attr_parse_nested(a, read_element, arg);
}

static int read_set(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) != NFTA_SET_ELEM_LIST_ELEMENTS)
		return MNL_CB_OK;
	return mnl_attr_parse_nested(a, read_list, arg);
}

static int read_message(const struct nlmsghdr *header, void *arg)
{
	if (header->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM))
		return MNL_CB_OK;
	return mnl_attr_parse(header, sizeof(struct nfgenmsg), read_set, arg);
}

int netdev_flows_read(const void *bytes, size_t len, enum policy_direction direction, bool pings,
		      struct rules_flows *flows)
{
	struct reading reading = { direction, pings, flows };
	int r;

	errno = EPROTO; /* of our callbacks */
	r = mnl_cb_run(bytes, len, 0, 0, read_message, &reading);
	return r < 0 ? -errno : r != MNL_CB_STOP;
}

static int read_one(const struct nlmsghdr *header, void *arg)
{
	const struct reading *r = arg;
	int code = netdev_flows_read(header, header->nlmsg_len, r->direction, r->pings, r->flows);

	if (code >= 0)
		return MNL_CB_OK;
	errno = -code;
	return MNL_CB_ERROR;
}

static int list_once(struct netfilter *nf, const char *table, struct reading *reading)
{
	char bytes[REQUEST_MAX];
	struct nlmsghdr *header =
		netfilter_begin(nf, bytes, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM,
				NLM_F_DUMP, NFPROTO_NETDEV);

	mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET,
			  reading->pings ? rules_ping_set(reading->direction)
					 : rules_flow_set(reading->direction));
	return netfilter_talk(nf, header, header->nlmsg_len, read_one, reading);
}

static int list_set(struct netfilter *nf, const char *table, enum policy_direction direction,
		    bool pings, struct rules_flows *flows, struct error *err)
{
	struct reading reading = { direction, pings, flows };
	size_t before = flows->len;
	int r = -EINTR;

	/* somebody changed the filter meanwhile */
	for (unsigned i = 0; r == -EINTR && i < LIST_TRIES; i++) {
		flows->len = before;
		r = list_once(nf, table, &reading);
	}
	if (r == 0)
		return 0;
	errno = -r;
	return error_errno(err, "cannot list the open flows");
}

int netdev_flows_list(struct netfilter *nf, const char *table, struct rules_flows *flows,
		      struct error *err)
{
	static const enum policy_direction directions[] = { POLICY_OUT, POLICY_IN };
	int r = 0;

	for (size_t i = 0; r == 0 && i < array_size(directions); i++) {
		r = list_set(nf, table, directions[i], false, flows, err);
		if (r == 0)
			r = list_set(nf, table, directions[i], true, flows, err);
	}
	return r;
}
