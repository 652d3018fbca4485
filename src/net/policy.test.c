/* SPDX-License-Identifier: Apache-2.0 */
#include "net/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "net/policy_vectors.h"

struct verdict {
	const char *flow;
	bool passes;
};

static void check_verdicts(const struct policy *policy, const struct verdict *verdicts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (vector_passes(policy, verdicts[i].flow) != verdicts[i].passes)
			fail_msg("%s %s", verdicts[i].flow,
				 verdicts[i].passes ? "is blocked" : "passes");
}

/* The policy of these rules. */
#define policy_of(...)                                                         \
	{                                                                      \
		.rules = {                                                     \
			.items = (struct policy_rule[]){ __VA_ARGS__ },        \
			.len = sizeof((struct policy_rule[]){ __VA_ARGS__ }) / \
			       sizeof(struct policy_rule)                      \
		}                                                              \
	}

static struct policy_rule rule(enum policy_stage stage, bool pass)
{
	struct policy_rule r = POLICY_RULE_INIT;

	r.stage = (uint8_t)stage;
	r.pass = pass;
	return r;
}

static struct policy_rule block(void)
{
	return rule(POLICY_MODE, false);
}

static struct in_addr address(const char *text)
{
	struct in_addr a;

	assert_int_equal(inet_pton(AF_INET, text, &a), 1);
	return a;
}

static void test_without_a_rule_all_passes(void **state)
{
	const struct policy policy = POLICY_INIT;

	(void)state;
	assert_true(vector_passes(&policy, "out world 1.1.1.1 tcp 80"));
	assert_true(vector_passes(&policy, "in guests 192.168.64.6 icmp"));
}

static void test_first_match_decides_in_a_stage(void **state)
{
	const struct policy open = policy_of(rule(POLICY_OWN, true), rule(POLICY_OWN, false));
	const struct policy shut = policy_of(rule(POLICY_OWN, false), rule(POLICY_OWN, true));

	(void)state;
	assert_true(vector_passes(&open, "out world 1.1.1.1 tcp 80"));
	assert_false(vector_passes(&shut, "out world 1.1.1.1 tcp 80"));
}

static void test_every_stage_has_to_pass(void **state)
{
	for (unsigned closed = 0; closed < 8; closed++) {
		const struct policy policy =
			policy_of(rule(POLICY_HOST_WIDE, !(closed & 1)),
				  rule(POLICY_OWN, !(closed & 2)), rule(POLICY_OWN, false),
				  rule(POLICY_MODE, !(closed & 4)));

		assert_int_equal(vector_passes(&policy, "out world 1.1.1.1 tcp 80"), closed == 0);
	}
	(void)state;
}

static void test_direction(void **state)
{
	struct policy_rule out = block();
	struct policy policy = { .rules = { .items = &out, .len = 1 } };

	(void)state;
	out.directions = POLICY_OUT;
	assert_false(vector_passes(&policy, "out world 1.1.1.1 tcp 80"));
	assert_true(vector_passes(&policy, "in world 1.1.1.1 tcp 80"));
	out.directions = POLICY_IN;
	assert_true(vector_passes(&policy, "out world 1.1.1.1 tcp 80"));
	assert_false(vector_passes(&policy, "in world 1.1.1.1 tcp 80"));
}

static void test_kind_of_remote(void **state)
{
	static const char *const flows[] = { "out world 10.0.0.1 tcp 80",
					     "out host 10.0.0.1 tcp 80",
					     "out guests 10.0.0.1 tcp 80" };
	struct policy_rule one = block();
	struct policy policy = { .rules = { .items = &one, .len = 1 } };

	(void)state;
	for (unsigned remotes = 1; remotes <= POLICY_ALL; remotes++) {
		one.remotes = (uint8_t)remotes;
		for (unsigned i = 0; i < array_size(flows); i++)
			assert_int_equal(vector_passes(&policy, flows[i]), !(remotes & (1U << i)));
	}
}

static void test_remote_prefix(void **state)
{
	static const struct verdict verdicts[] = {
		{ "out world 172.16.0.0 tcp 80", false },
		{ "in host 172.31.255.255 udp 1", false },
		{ "out world 172.15.255.255 tcp 80", true },
		{ "out world 172.32.0.0 tcp 80", true },
	};
	struct policy_rule one = block();
	struct policy policy = { .rules = { .items = &one, .len = 1 } };

	(void)state;
	one.remote = address("172.16.0.0");
	one.remote_prefix = 12;
	check_verdicts(&policy, verdicts, array_size(verdicts));
}

/* On a bridge a guest has an address that nobody knows before. */
static void test_guest_prefix(void **state)
{
	struct policy_rule one = block();
	struct policy policy = { .rules = { .items = &one, .len = 1 } };

	(void)state;
	one.guest = address("192.168.64.5");
	one.guest_prefix = 32;
	assert_false(vector_passes(&policy, "out world 1.1.1.1 tcp 80"));
	one.guest = address("192.168.64.4");
	assert_true(vector_passes(&policy, "out world 1.1.1.1 tcp 80"));
}

static void test_named_only_where_a_name_gave_the_address(void **state)
{
	struct policy_rule named = rule(POLICY_MODE, true);
	const struct policy policy = { .rules = { .items = (struct policy_rule[]){ named, block() },
						  .len = 2 } };

	(void)state;
	policy.rules.items[0].named = 1;
	assert_true(vector_passes(&policy, "out world 1.1.1.1 tcp 80 1 named"));
	assert_false(vector_passes(&policy, "out world 1.1.1.1 tcp 80 1"));
}

static void test_protocol(void **state)
{
	struct policy_rule one = block();
	struct policy policy = { .rules = { .items = &one, .len = 1 } };

	(void)state;
	one.protocol = IPPROTO_ICMP;
	assert_false(vector_passes(&policy, "out world 1.1.1.1 icmp"));
	assert_true(vector_passes(&policy, "out world 1.1.1.1 gre"));
	assert_true(vector_passes(&policy, "out world 1.1.1.1 udp 1 1"));
	one.protocol = IPPROTO_UDP;
	assert_true(vector_passes(&policy, "out world 1.1.1.1 tcp 1 1"));
	assert_false(vector_passes(&policy, "out world 1.1.1.1 udp 1 1"));
}

static void test_ports_are_of_tcp_and_udp_alone(void **state)
{
	static const struct verdict verdicts[] = {
		{ "out world 1.1.1.1 tcp 80 9", false },
		{ "out world 1.1.1.1 udp 80 9", false },
		{ "out world 1.1.1.1 tcp 90 9", false },
		{ "out world 1.1.1.1 tcp 79 9", true },
		{ "out world 1.1.1.1 tcp 91 9", true },
		{ "out world 1.1.1.1 tcp 9 80", true },
		/* what conntrack calls their ports is none */
		{ "out world 1.1.1.1 icmp 80 80", true },
		{ "out world 1.1.1.1 gre 80 80", true },
	};
	struct policy_rule one = block();
	struct policy policy = { .rules = { .items = &one, .len = 1 } };

	(void)state;
	one.remote_ports = (struct policy_ports){ 80, 90 };
	check_verdicts(&policy, verdicts, array_size(verdicts));
}

static void test_ports_and_protocol(void **state)
{
	struct policy_rule one = block();
	struct policy policy = { .rules = { .items = &one, .len = 1 } };

	(void)state;
	one.protocol = IPPROTO_TCP;
	one.guest_ports = (struct policy_ports){ 22, 22 };
	assert_false(vector_passes(&policy, "in world 1.1.1.1 tcp 4000 22"));
	assert_true(vector_passes(&policy, "in world 1.1.1.1 udp 4000 22"));
	assert_true(vector_passes(&policy, "in world 1.1.1.1 tcp 22 4000"));
}

static void test_any_port_is_what_has_none_too(void **state)
{
	const struct policy policy = policy_of(block());

	(void)state;
	assert_false(vector_passes(&policy, "out world 1.1.1.1 icmp"));
	assert_false(vector_passes(&policy, "out world 1.1.1.1 gre"));
	assert_false(vector_passes(&policy, "out world 1.1.1.1 tcp 0 0"));
	assert_false(vector_passes(&policy, "out world 1.1.1.1 tcp 65535 65535"));
}

static int check_rule(const struct policy_rule *r, struct error *err)
{
	const struct policy policy = { .rules = { .items = (struct policy_rule[]){ *r },
						  .len = 1 } };

	return policy_check(&policy, err);
}

static void test_check_each_field(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		const char *says;
	} faults[] = {
		{ offsetof(struct policy_rule, stage), POLICY_STAGES, "unknown stage" },
		{ offsetof(struct policy_rule, pass), 2, "neither pass nor block" },
		{ offsetof(struct policy_rule, directions), 0, "unknown direction" },
		{ offsetof(struct policy_rule, directions), 4, "unknown direction" },
		{ offsetof(struct policy_rule, remotes), 0, "unknown kind of remote" },
		{ offsetof(struct policy_rule, remotes), 8, "unknown kind of remote" },
		{ offsetof(struct policy_rule, named), 2, "neither names nor a prefix" },
		{ offsetof(struct policy_rule, remote_prefix), 33, "not a prefix" },
		{ offsetof(struct policy_rule, guest_prefix), 33, "not a prefix" },
		{ offsetof(struct policy_rule, guest_prefix), 255, "not a prefix" },
		{ offsetof(struct policy_rule, remote) + 3, 1, "not a prefix" },
		{ offsetof(struct policy_rule, guest) + 3, 1, "not a prefix" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(faults); i++) {
		struct policy_rule r = POLICY_RULE_INIT;
		struct error err = ERROR_INIT;
		auto_free char *says = str_format("policy: rule 1: %s", faults[i].says);

		assert_int_equal(check_rule(&r, &err), 0);
		((uint8_t *)&r)[faults[i].at] = faults[i].value;
		assert_int_equal(check_rule(&r, &err), faults[i].says ? -E_INVALID : 0);
		if (faults[i].says)
			assert_string_equal(err.text, says);
	}
}

static void test_check_ports(void **state)
{
	static const struct {
		uint8_t protocol;
		struct policy_ports remote, guest;
		bool right;
	} ports[] = {
		{ 0, { 1, 2 }, { 0, 65535 }, true },
		{ IPPROTO_TCP, { 2, 2 }, { 0, 0 }, true },
		{ IPPROTO_UDP, { 0, 65535 }, { 65535, 65535 }, true },
		{ IPPROTO_ICMP, { 0, 65535 }, { 0, 65535 }, true },
		{ IPPROTO_ICMP, { 0, 65534 }, { 0, 65535 }, false },
		{ IPPROTO_SCTP, { 0, 65535 }, { 1, 65535 }, false },
		{ 0, { 2, 1 }, { 0, 65535 }, false },
		{ 0, { 0, 65535 }, { 2, 1 }, false },
	};

	(void)state;
	for (size_t i = 0; i < array_size(ports); i++) {
		struct policy_rule r = POLICY_RULE_INIT;
		struct error err = ERROR_INIT;

		r.protocol = ports[i].protocol;
		r.remote_ports = ports[i].remote;
		r.guest_ports = ports[i].guest;
		assert_int_equal(check_rule(&r, &err), ports[i].right ? 0 : -E_INVALID);
	}
}

static void test_check_named_has_no_prefix(void **state)
{
	struct policy_rule r = POLICY_RULE_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	r.named = 1;
	assert_int_equal(check_rule(&r, &err), 0);
	r.remote_prefix = 8;
	assert_int_equal(check_rule(&r, &err), -E_INVALID);
}

static void test_check_stages_in_order(void **state)
{
	const struct policy good = policy_of(rule(POLICY_HOST_WIDE, true), rule(POLICY_OWN, true),
					     rule(POLICY_OWN, true), rule(POLICY_MODE, true));
	const struct policy bad = policy_of(rule(POLICY_MODE, true), rule(POLICY_OWN, true));
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(policy_check(&good, &err), 0);
	assert_int_equal(policy_check(&bad, &err), -E_INVALID);
	assert_string_equal(err.text, "policy: rule 2: stage out of order");
}

static void test_check_sizes(void **state)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < POLICY_RULES_MAX; i++)
		policy_rules_add(&policy.rules, block());
	for (size_t i = 0; i < POLICY_NAMES_MAX; i++)
		strings_add(&policy.names, "a.example");
	assert_int_equal(policy_check(&policy, &err), 0);
	strings_add(&policy.names, "a.example");
	assert_int_equal(policy_check(&policy, &err), -E_INVALID);
	strings_release(&policy.names);
	policy_rules_add(&policy.rules, block());
	assert_int_equal(policy_check(&policy, &err), -E_INVALID);
}

static void test_check_names(void **state)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	strings_add(&policy.names, "example.org");
	strings_add(&policy.names, "Example.org");
	assert_int_equal(policy_check(&policy, &err), -E_INVALID);
	assert_string_equal(err.text, "policy: name 2 is none");
}

#define LABEL_63 "a23456789012345678901234567890123456789012345678901234567890123"
#define NAME_253                               \
	LABEL_63 "." LABEL_63 "." LABEL_63 "." \
		 "a234567890123456789012345678901234567890123456789012345678901"

static void test_is_name(void **state)
{
	static const char *const good[] = {
		"localhost",	      "example.org", "a.b.c",
		"*.example.org",      "*.org",	     "xn--bcher-kva.example",
		"_dmarc.example.org", "a_b.example", "3com.com",
		"1.2.3.a4",
	};
	static const char *const bad[] = {
		"",	    ".",
		"*",	    "*.",
		"a..b",	    ".a",
		"a.",	    "example.org.",
		"*.*.org",  "a.*.org",
		"*a.org",   "**.org",
		"-a.org",   "a-.org",
		"a.b-",	    "A.org",
		"a b",	    "a\n",
		"a/8",	    "a:1",
		"@host",    "b\xc3\xbc.org",
		"1.2.3",    "10.0.0.300",
		"10.0.0.1", "a.1",
		"1",	    "a._1",
		"a.1_",	    "*.1",
	};

	(void)state;
	for (size_t i = 0; i < array_size(good); i++)
		if (!policy_is_name(good[i]))
			fail_msg("'%s' is a name", good[i]);
	for (size_t i = 0; i < array_size(bad); i++)
		if (policy_is_name(bad[i]))
			fail_msg("'%s' is no name", bad[i]);
}

static void test_length_of_names(void **state)
{
	static const char longest[] = NAME_253;
	auto_free char *below = str_format("*.%s", longest);
	auto_free char *too_long = str_format("%sa", longest);
	auto_free char *below_too_long = str_format("*.%sa", longest);
	auto_free char *label = str_format("%sa", LABEL_63);

	(void)state;
	assert_int_equal(strlen(longest), POLICY_NAME_MAX - 2);
	assert_true(policy_is_name(longest));
	assert_true(policy_is_name(below));
	assert_true(policy_is_name(LABEL_63));
	assert_false(policy_is_name(too_long));
	assert_false(policy_is_name(below_too_long));
	assert_false(policy_is_name(label));
}

static void test_find_name(void **state)
{
	static const struct {
		const char *name;
		int found;
	} lookups[] = {
		{ "example.org", 0 },
		{ "www.example.org", -1 },
		{ "xexample.org", -1 },
		{ "example.or", -1 },
		{ "example.org.evil.com", -1 },
		{ "", -1 },
		{ "below.net", -1 },
		{ "a.below.net", 1 },
		{ "a.b.below.net", 1 },
		{ "abelow.net", -1 },
		{ ".below.net", -1 },
		{ "a.below.net.evil.com", -1 },
		{ "both.test", 2 },
		{ "x.both.test", 3 },
		{ "*.below.net", 1 },
	};
	auto_strings names = VEC_INIT;

	(void)state;
	strings_add(&names, "example.org");
	strings_add(&names, "*.below.net");
	strings_add(&names, "both.test");
	strings_add(&names, "*.both.test");
	for (size_t i = 0; i < array_size(lookups); i++)
		if (policy_find_name(&names, lookups[i].name) != lookups[i].found)
			fail_msg("'%s' is not %d", lookups[i].name, lookups[i].found);
}

static void test_find_name_among_none(void **state)
{
	const struct strings names = VEC_INIT;

	(void)state;
	assert_int_equal(policy_find_name(&names, "example.org"), -1);
}

static void test_find_name_among_1024(void **state)
{
	auto_strings names = VEC_INIT;

	(void)state;
	for (int i = 0; i < POLICY_NAMES_MAX; i++)
		strings_addf(&names, "%shost%d.example.org", i & 1 ? "*." : "", i);
	assert_int_equal(policy_find_name(&names, "host0.example.org"), 0);
	assert_int_equal(policy_find_name(&names, "www.host1023.example.org"), 1023);
	assert_int_equal(policy_find_name(&names, "www.host1022.example.org"), -1);
	assert_int_equal(policy_find_name(&names, "host1024.example.org"), -1);
}

static void test_shared_closes_guests_and_link_local(void **state)
{
	static const struct verdict verdicts[] = {
		{ "out guests 192.168.64.6 tcp 22 9", false },
		{ "in guests 192.168.64.6 tcp 9 22", false },
		{ "out world 169.254.169.254 tcp 80 9", false },
		{ "out host 169.254.1.1 tcp 80 9", true }, /* an address of the host's own */
		{ "out world 169.253.255.255 tcp 80 9", true },
		{ "out world 169.255.0.0 tcp 80 9", true },
		{ "out world 1.1.1.1 tcp 80 9", true },
		{ "out world 10.0.0.1 udp 80 9", true },
		{ "out host 192.168.64.1 tcp 22 9", true },
		{ "in host 192.168.64.1 tcp 9 22", true },
	};
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	policy_add_mode(&policy, NET_SHARED);
	assert_int_equal(policy_check(&policy, &err), 0);
	check_verdicts(&policy, verdicts, array_size(verdicts));
}

static void test_host_mode_is_the_host_alone(void **state)
{
	static const struct verdict verdicts[] = {
		{ "out host 192.168.128.1 tcp 22 9", true },
		{ "in host 192.168.128.1 tcp 9 22", true },
		{ "out guests 192.168.128.6 icmp", false },
		{ "in guests 192.168.128.6 icmp", false },
		{ "out world 1.1.1.1 udp 53 9", false },
		{ "in world 1.1.1.1 udp 9 53", false },
	};
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	policy_add_mode(&policy, NET_HOST);
	assert_true(policy.names_only);
	assert_int_equal(policy_check(&policy, &err), 0);
	check_verdicts(&policy, verdicts, array_size(verdicts));
}

static void test_bridged_and_softnet_modes_add_nothing(void **state)
{
	auto_policy policy = POLICY_INIT;

	(void)state;
	policy_add_mode(&policy, NET_BRIDGED);
	policy_add_mode(&policy, NET_SOFTNET);
	assert_int_equal(policy.rules.len, 0);
}

static void test_no_local(void **state)
{
	static const struct verdict verdicts[] = {
		{ "out host 192.168.64.1 tcp 22 9", false },
		{ "in host 192.168.64.1 tcp 9 22", false },
		{ "out guests 192.168.64.6 tcp 1 9", false },
		{ "in guests 192.168.64.6 tcp 9 1", false },
		{ "out world 10.0.0.1 tcp 80 9", true },
		{ "in world 10.0.0.1 tcp 9 80", true },
	};
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	policy_add_no_local(&policy);
	policy_add_mode(&policy, NET_SHARED);
	assert_int_equal(policy_check(&policy, &err), 0);
	check_verdicts(&policy, verdicts, array_size(verdicts));
}

static void test_no_local_stands_before_the_own_rules(void **state)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	policy_rules_add(&policy.rules, rule(POLICY_HOST_WIDE, true));
	policy_rules_add(&policy.rules, rule(POLICY_OWN, true));
	policy_rules_add(&policy.rules, rule(POLICY_MODE, true));
	policy_add_no_local(&policy);
	assert_int_equal(policy_check(&policy, &err), 0);
	assert_int_equal(policy.rules.len, 4);
	assert_int_equal(policy.rules.items[3].stage, POLICY_MODE);
	assert_false(vector_passes(&policy, "out host 192.168.64.1 tcp 22 9"));
	assert_true(vector_passes(&policy, "out world 1.1.1.1 tcp 22 9"));
}

/* companions.md A.4, and multicast. First and last of each, and their neighbours. */
static const struct {
	const char *address;
	bool closed;
} specials[] = {
	{ "0.0.0.0", true },	      { "0.255.255.255", true },   { "1.0.0.0", false },
	{ "9.255.255.255", false },   { "10.0.0.0", true },	   { "10.255.255.255", true },
	{ "11.0.0.0", false },	      { "100.63.255.255", false }, { "100.64.0.0", true },
	{ "100.127.255.255", true },  { "100.128.0.0", false },	   { "126.255.255.255", false },
	{ "127.0.0.0", true },	      { "127.255.255.255", true }, { "128.0.0.0", false },
	{ "169.253.255.255", false }, { "169.254.0.0", true },	   { "169.254.169.254", true },
	{ "169.254.255.255", true },  { "169.255.0.0", false },	   { "172.15.255.255", false },
	{ "172.16.0.0", true },	      { "172.31.255.255", true },  { "172.32.0.0", false },
	{ "191.255.255.255", false }, { "192.0.0.0", true },	   { "192.0.0.8", true },
	{ "192.0.0.9", false },	      { "192.0.0.10", false },	   { "192.0.0.11", true },
	{ "192.0.0.255", true },      { "192.0.1.255", false },	   { "192.0.2.0", true },
	{ "192.0.2.255", true },      { "192.0.3.0", false },	   { "192.167.255.255", false },
	{ "192.168.0.0", true },      { "192.168.255.255", true }, { "192.169.0.0", false },
	{ "198.17.255.255", false },  { "198.18.0.0", true },	   { "198.19.255.255", true },
	{ "198.20.0.0", false },      { "198.51.99.255", false },  { "198.51.100.0", true },
	{ "198.51.100.255", true },   { "198.51.101.0", false },   { "203.0.112.255", false },
	{ "203.0.113.0", true },      { "203.0.113.255", true },   { "203.0.114.0", false },
	{ "223.255.255.255", false }, { "224.0.0.0", true },	   { "239.255.255.255", true },
	{ "240.0.0.0", true },	      { "255.255.255.254", true }, { "255.255.255.255", true },
	{ "8.8.8.8", false },
};

static void test_is_closed(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(specials); i++)
		if (policy_is_closed(address(specials[i].address)) != specials[i].closed)
			fail_msg("%s", specials[i].address);
}

/* The rules say the same as policy_is_closed(). */
static void test_add_closed(void **state)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	policy_add_closed(&policy);
	assert_int_equal(policy_check(&policy, &err), 0);
	for (size_t i = 0; i < array_size(specials); i++) {
		auto_free char *flow = str_format("out world %s tcp 80 9", specials[i].address);
		auto_free char *guest = str_format("in guests %s tcp 9 80", specials[i].address);

		assert_int_equal(vector_passes(&policy, flow), !specials[i].closed);
		assert_false(vector_passes(&policy, guest));
	}
	assert_false(vector_passes(&policy, "out host 1.2.3.4 tcp 22 9"));
	assert_true(vector_passes(&policy, "in host 10.0.0.1 tcp 9 22"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_a_rule_all_passes),
		cmocka_unit_test(test_first_match_decides_in_a_stage),
		cmocka_unit_test(test_every_stage_has_to_pass),
		cmocka_unit_test(test_direction),
		cmocka_unit_test(test_kind_of_remote),
		cmocka_unit_test(test_remote_prefix),
		cmocka_unit_test(test_guest_prefix),
		cmocka_unit_test(test_named_only_where_a_name_gave_the_address),
		cmocka_unit_test(test_protocol),
		cmocka_unit_test(test_ports_are_of_tcp_and_udp_alone),
		cmocka_unit_test(test_ports_and_protocol),
		cmocka_unit_test(test_any_port_is_what_has_none_too),
		cmocka_unit_test(test_check_each_field),
		cmocka_unit_test(test_check_ports),
		cmocka_unit_test(test_check_named_has_no_prefix),
		cmocka_unit_test(test_check_stages_in_order),
		cmocka_unit_test(test_check_sizes),
		cmocka_unit_test(test_check_names),
		cmocka_unit_test(test_is_name),
		cmocka_unit_test(test_length_of_names),
		cmocka_unit_test(test_find_name),
		cmocka_unit_test(test_find_name_among_none),
		cmocka_unit_test(test_find_name_among_1024),
		cmocka_unit_test(test_shared_closes_guests_and_link_local),
		cmocka_unit_test(test_host_mode_is_the_host_alone),
		cmocka_unit_test(test_bridged_and_softnet_modes_add_nothing),
		cmocka_unit_test(test_no_local),
		cmocka_unit_test(test_no_local_stands_before_the_own_rules),
		cmocka_unit_test(test_is_closed),
		cmocka_unit_test(test_add_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
