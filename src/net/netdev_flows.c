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

enum {
	MESSAGE_MAX = 32 * 1024,
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

static int ask(struct mnl_socket *socket, const char *table, const char *set)
{
	char bytes[REQUEST_MAX] = { 0 };
	struct nlmsghdr *header = mnl_nlmsg_put_header(bytes);
	struct nfgenmsg *m;

	header->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	m = mnl_nlmsg_put_extra_header(header, sizeof(*m));
	m->nfgen_family = NFPROTO_NETDEV;
	m->version = NFNETLINK_V0;
	mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, set);
	return mnl_socket_sendto(socket, header, header->nlmsg_len) < 0 ? -errno : 0;
}

static int receive_all(struct mnl_socket *socket, enum policy_direction direction, bool pings,
		       struct rules_flows *flows)
{
	uint64_t answer[MESSAGE_MAX / sizeof(uint64_t)]; /* aligned */
	int r;

	do {
		ssize_t n = mnl_socket_recvfrom(socket, answer, sizeof(answer));

		if (n < 0)
			return -errno;
		r = netdev_flows_read(answer, (size_t)n, direction, pings, flows);
	} while (r > 0);
	return r;
}

/* A new socket each time: nothing of an older list comes. */
static int list_once(const char *table, enum policy_direction direction, bool pings,
		     struct rules_flows *flows)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	const char *set = pings ? rules_ping_set(direction) : rules_flow_set(direction);
	int r;

	if (!socket)
		return -errno;
	r = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
	if (r == 0)
		r = ask(socket, table, set);
	if (r == 0)
		r = receive_all(socket, direction, pings, flows);
	(void)mnl_socket_close(socket);
	return r;
}

static int list_set(const char *table, enum policy_direction direction, bool pings,
		    struct rules_flows *flows, struct error *err)
{
	size_t before = flows->len;
	int r = -EINTR;

	/* somebody changed the filter meanwhile */
	for (unsigned i = 0; r == -EINTR && i < LIST_TRIES; i++) {
		flows->len = before;
		r = list_once(table, direction, pings, flows);
	}
	if (r == 0)
		return 0;
	errno = -r;
	return error_errno(err, "cannot list the open flows");
}

int netdev_flows_list(const char *table, struct rules_flows *flows, struct error *err)
{
	static const enum policy_direction directions[] = { POLICY_OUT, POLICY_IN };
	int r = 0;

	for (size_t i = 0; r == 0 && i < array_size(directions); i++) {
		r = list_set(table, directions[i], false, flows, err);
		if (r == 0)
			r = list_set(table, directions[i], true, flows, err);
	}
	return r;
}
