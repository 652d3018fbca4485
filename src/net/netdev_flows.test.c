/* SPDX-License-Identifier: Apache-2.0 */

/* The kernel's messages as they were seen, and broken ones. */

#include "net/netdev_flows.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

enum { MESSAGE_SIZE = 512 };

struct message {
	uint64_t bytes[MESSAGE_SIZE / sizeof(uint64_t)];
	size_t len;
};

/* A message of @type with one element of this key. */
static struct message element(uint16_t type, const void *key, size_t size)
{
	struct message m = { .len = 0 };
	struct nlmsghdr *header = mnl_nlmsg_put_header(m.bytes);
	struct nlattr *list, *item, *data;

	header->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	(void)mnl_nlmsg_put_extra_header(header, sizeof(struct nfgenmsg));
	mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, "lzb0");
	list = mnl_attr_nest_start(header, NFTA_SET_ELEM_LIST_ELEMENTS);
	item = mnl_attr_nest_start(header, NFTA_LIST_ELEM);
	data = mnl_attr_nest_start(header, NFTA_SET_ELEM_KEY);
	mnl_attr_put(header, NFTA_DATA_VALUE, size, key);
	mnl_attr_nest_end(header, data);
	mnl_attr_put_u32(header, NFTA_SET_ELEM_FLAGS, 0);
	mnl_attr_nest_end(header, item);
	mnl_attr_nest_end(header, list);
	m.len = header->nlmsg_len;
	return m;
}

static const uint8_t flow_key[] = { 10, 9, 0, 7, 6, 0, 0, 0, 0x15, 0xb3, 0, 0, 0, 80, 0, 0 };
static const uint8_t ping_key[] = { 10, 9, 0, 7, 0x12, 0x34, 0, 0 };

static void test_read(void **state)
{
	cleanup_(rules_flows_release) struct rules_flows flows = VEC_INIT;
	struct message m = element(NFT_MSG_NEWSETELEM, flow_key, sizeof(flow_key));

	(void)state;
	assert_int_equal(netdev_flows_read(m.bytes, m.len, POLICY_IN, false, &flows), 1);
	m = element(NFT_MSG_NEWSETELEM, ping_key, sizeof(ping_key));
	assert_int_equal(netdev_flows_read(m.bytes, m.len, POLICY_OUT, true, &flows), 1);
	m = element(NFT_MSG_DELSETELEM, ping_key, sizeof(ping_key));
	assert_int_equal(netdev_flows_read(m.bytes, m.len, POLICY_OUT, true, &flows), 1);
	assert_int_equal(flows.len, 2);
	assert_int_equal(flows.items[0].direction, POLICY_IN);
	assert_int_equal(ntohl(flows.items[0].remote.s_addr), 0x0a090007);
	assert_int_equal(flows.items[0].protocol, IPPROTO_TCP);
	assert_int_equal(flows.items[0].guest_port, 5555);
	assert_int_equal(flows.items[0].remote_port, 80);
	assert_int_equal(flows.items[1].direction, POLICY_OUT);
	assert_int_equal(flows.items[1].protocol, IPPROTO_ICMP);
	assert_int_equal(flows.items[1].guest_port, 0x1234);
}

static void test_other_keys(void **state)
{
	cleanup_(rules_flows_release) struct rules_flows flows = VEC_INIT;
	struct message m = element(NFT_MSG_NEWSETELEM, flow_key, sizeof(flow_key));

	(void)state;
	assert_int_equal(netdev_flows_read(m.bytes, m.len, POLICY_OUT, true, &flows), -EPROTO);
	m = element(NFT_MSG_NEWSETELEM, flow_key, sizeof(flow_key) - 4);
	assert_int_equal(netdev_flows_read(m.bytes, m.len, POLICY_OUT, false, &flows), -EPROTO);
	assert_int_equal(flows.len, 0);
}

static void test_end(void **state)
{
	cleanup_(rules_flows_release) struct rules_flows flows = VEC_INIT;
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} m = { .header = { .nlmsg_len = sizeof(m), .nlmsg_type = NLMSG_DONE } };

	(void)state;
	assert_int_equal(netdev_flows_read(&m, sizeof(m), POLICY_OUT, false, &flows), 0);
	m.header.nlmsg_flags = NLM_F_DUMP_INTR;
	assert_int_equal(netdev_flows_read(&m, sizeof(m), POLICY_OUT, false, &flows), -EINTR);
	m.header.nlmsg_flags = 0;
	m.header.nlmsg_type = NLMSG_ERROR;
	m.error.error = -ENOENT;
	assert_int_equal(netdev_flows_read(&m, sizeof(m), POLICY_OUT, false, &flows), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_other_keys),
		cmocka_unit_test(test_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
