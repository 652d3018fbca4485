/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The text for nft against src/net/rules_bridged.golden; UPDATE_GOLDEN=1
 * writes it anew, to be read before it is committed. The kernel's word on it
 * is tests/test_net_bridged.py.
 */

#include "net/rules_bridged.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/fs.h"

static const struct rules_card on_bridge = {
	.name = "lzb7",
	.mac = { 0x52, 0x54, 0, 0x12, 0x34, 0xff },
};

static const struct rules_card on_interface = {
	.name = "lzb12",
	.wire = "lzw12",
	.host = "lzm12",
	.mac = { 0x52, 0x54, 0, 0x12, 0x34, 0x01 },
};

static struct in_addr address(uint32_t a)
{
	return (struct in_addr){ htonl(a) };
}

static void add(struct policy *policy, const struct policy_rule *rule)
{
	policy_rules_add(&policy->rules, *rule);
}

/* Each field of a rule, in a stage of its own or in one way only. */
static void fill(struct policy *policy)
{
	struct policy_rule r = POLICY_RULE_INIT;

	r.stage = POLICY_HOST_WIDE;
	r.pass = 0;
	r.directions = POLICY_OUT;
	r.remote = address(0xa9fea9fe);
	r.remote_prefix = 32;
	add(policy, &r);
	r = (struct policy_rule)POLICY_RULE_INIT;
	r.stage = POLICY_OWN;
	r.guest = address(0x0a090000);
	r.guest_prefix = 16;
	r.remote_ports = (struct policy_ports){ 53, 53 };
	add(policy, &r);
	r.protocol = IPPROTO_TCP;
	r.directions = POLICY_IN;
	r.guest_ports = (struct policy_ports){ 8000, 8999 };
	add(policy, &r);
	r = (struct policy_rule)POLICY_RULE_INIT;
	r.stage = POLICY_OWN;
	r.protocol = IPPROTO_ICMP;
	r.remotes = POLICY_HOST | POLICY_GUESTS;
	add(policy, &r);
	r.remotes = POLICY_GUESTS; /* there are none on a LAN */
	add(policy, &r);
	r.remotes = POLICY_WORLD;
	r.pass = 0;
	add(policy, &r);
}

static void add_flows(struct rules_flows *flows)
{
	rules_flows_add(flows, (struct rules_flow){ POLICY_OUT, address(0x0a090001), IPPROTO_TCP,
						    40000, 443 });
	rules_flows_add(flows,
			(struct rules_flow){ POLICY_IN, address(0x0a090002), IPPROTO_ICMP, 7, 7 });
}

static void write_all(struct str *text)
{
	auto_policy none = POLICY_INIT, some = POLICY_INIT;
	cleanup_(rules_flows_release) struct rules_flows flows = VEC_INIT;
	struct rules_card card = on_bridge;

	fill(&some);
	add_flows(&flows);
	str_adds(text, "## on a bridge, no address seen, no rules\n");
	rules_add_card(text, &card, &none);
	str_adds(text, "## rules\n");
	rules_set_card_policy(text, &card, &some);
	str_adds(text, "## address\n");
	card.address = address(0x0a090032);
	rules_set_card_address(text, &card);
	str_adds(text, "## cut\n");
	rules_cut_flows(text, &card, &flows);
	str_adds(text, "## on a plain interface\n");
	rules_add_card(text, &on_interface, &none);
	str_adds(text, "## remove\n");
	rules_remove_card(text, on_interface.name);
	str_adds(text, "## lists\n" RULES_LIST_CARDS);
	rules_list_card_drops(text, &card);
}

static void test_golden(void **state)
{
	auto_str text = STR_INIT, golden = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	write_all(&text);
	if (getenv("UPDATE_GOLDEN"))
		assert_int_equal(fs_replace_file(AT_FDCWD, GOLDEN, text.ptr, text.len, 0644, &err),
				 0);
	assert_int_equal(fs_read_file(AT_FDCWD, GOLDEN, 1 << 20, &golden, &err), 0);
	assert_string_equal(text.ptr, golden.ptr);
}

static void test_names(void **state)
{
	static const char *const bad[] = {
		"", "lzb", "lzb-1", "lzb12345", "lzc1", "lzb1 ", "xlzb1"
	};

	(void)state;
	assert_true(rules_is_card("lzb0"));
	assert_true(rules_is_card("lzb9999"));
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(rules_is_card(bad[i]));
}

static void test_read_cards(void **state)
{
	static const char answer[] = "table netdev linzer\ntable inet lzb1\ntable netdev lzb3\n\n"
				     "table netdev lzb-and-a-name-that-is-too-long\n"
				     "table netdev lzb4;\ntable netdev lzb10 # handle 7";
	auto_strings names = VEC_INIT;

	(void)state;
	rules_read_cards(answer, &names);
	assert_int_equal(names.len, 2);
	assert_string_equal(names.items[0], "lzb3");
	assert_string_equal(names.items[1], "lzb10");
}

static void test_read_drops(void **state)
{
	static const char answer[] =
		"table netdev lzb3 {\n\tcounter gate {\n\t\tpackets 5 bytes 100\n\t}\n"
		"\tcounter out { # handle 3\n\t\tpackets 18446744073709551615 bytes 1\n\t}\n}\n";
	struct net_drops drops = { 1, 1, 1 };

	(void)state;
	rules_read_card_drops(answer, &drops);
	assert_int_equal(drops.gate, 5);
	assert_true(drops.out == UINT64_MAX);
	assert_int_equal(drops.in, 0);
	rules_read_card_drops("", &drops);
	assert_int_equal(drops.gate, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_read_cards),
		cmocka_unit_test(test_read_drops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
