/* SPDX-License-Identifier: Apache-2.0 */
#include "net/softnet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/vec.h"
#include "net/policy.h"
#include "net/policy_vectors.h"
#include "net/prefix.h"

/* NULL: no such option was given. */
static int compile(const char *allow, const char *block, struct policy *policy, struct error *err)
{
	auto_strings allowed = VEC_INIT, blocked = VEC_INIT;

	if (allow)
		strings_add(&allowed, allow);
	if (block)
		strings_add(&blocked, block);
	return softnet_compile(&allowed, &blocked, policy, err);
}

/* ... and in the right form. */
static void must_compile(const char *allow, const char *block, struct policy *policy)
{
	struct error err = ERROR_INIT;

	if (compile(allow, block, policy, &err) < 0 || policy_check(policy, &err) < 0)
		fail_msg("%s", err.text);
}

struct verdict {
	const char *allow, *block;
	const char *flow;
	bool passes;
};

static void check_verdicts(const struct verdict *verdicts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct verdict *v = &verdicts[i];
		auto_policy policy = POLICY_INIT;

		must_compile(v->allow, v->block, &policy);
		if (vector_passes(&policy, v->flow) != v->passes)
			fail_msg("allow '%s' block '%s': %s %s", v->allow ? v->allow : "",
				 v->block ? v->block : "", v->flow,
				 v->passes ? "is blocked" : "passes");
	}
}

#define CHECK(...)                                                        \
	do {                                                              \
		static const struct verdict verdicts[] = { __VA_ARGS__ }; \
		check_verdicts(verdicts, array_size(verdicts));           \
	} while (0)

/* The rules before the default ones, as text. */
static void check_rules(const char *allow, const char *block, const char *expected)
{
	auto_policy policy = POLICY_INIT, closed = POLICY_INIT;
	auto_str text = STR_INIT;

	must_compile(allow, block, &policy);
	policy_add_closed(&closed);
	assert_true(policy.rules.len >= closed.rules.len);
	assert_memory_equal(&policy.rules.items[policy.rules.len - closed.rules.len],
			    closed.rules.items, closed.rules.len * sizeof(struct policy_rule));
	policy.rules.len -= closed.rules.len;
	vector_add_rules(&text, &policy, 0);
	assert_string_equal(text.ptr, expected);
}

/* What is so without any target. */

static void test_default_world_is_open(void **state)
{
	(void)state;
	CHECK({ NULL, NULL, "out world 1.1.1.1 tcp 443 9", true },
	      { NULL, NULL, "out world 8.8.8.8 icmp", true },
	      { NULL, NULL, "out world 192.0.0.9 udp 5351 9", true });
}

static void test_default_closed_ranges(void **state)
{
	(void)state;
	CHECK({ NULL, NULL, "out world 10.0.0.1 tcp 80 9", false },
	      { NULL, NULL, "out world 169.254.169.254 tcp 80 9", false },
	      { NULL, NULL, "out world 100.64.0.1 udp 53 9", false },
	      { NULL, NULL, "out world 224.0.0.251 udp 5353 5353", false },
	      { NULL, NULL, "out world 240.0.0.1 icmp", false },
	      { NULL, NULL, "in world 10.0.0.1 tcp 9 22", false });
}

static void test_default_guests_are_closed(void **state)
{
	(void)state;
	CHECK({ NULL, NULL, "out guests 192.168.64.6 tcp 22 9", false },
	      { NULL, NULL, "in guests 192.168.64.6 tcp 9 22", false },
	      /* also where root gave the guests public addresses */
	      { NULL, NULL, "out guests 8.8.8.8 tcp 22 9", false },
	      { NULL, NULL, "in guests 8.8.8.8 icmp", false },
	      { NULL, NULL, "out guests 192.0.0.9 icmp", false });
}

static void test_default_guest_opens_nothing_to_the_host(void **state)
{
	(void)state;
	CHECK({ NULL, NULL, "out host 192.168.64.1 tcp 22 9", false },
	      { NULL, NULL, "out host 8.8.8.8 icmp", false },
	      { NULL, NULL, "in host 192.168.64.1 tcp 9 22", true });
}

/* Softnet's lists. */

static void test_allow_opens_a_closed_range(void **state)
{
	(void)state;
	CHECK({ "10.0.0.0/8", NULL, "out world 10.1.2.3 tcp 80 9", true },
	      { "10.0.0.0/8", NULL, "out world 11.0.0.0 tcp 80 9", true },
	      { "10.0.0.0/8", NULL, "out world 172.16.0.1 tcp 80 9", false },
	      { "224.0.0.0/4", NULL, "out world 224.0.0.251 udp 5353 9", true });
}

static void test_longest_prefix_wins(void **state)
{
	(void)state;
	CHECK({ "10.0.0.0/8", "10.1.0.0/16", "out world 10.1.2.3 tcp 80 9", false },
	      { "10.0.0.0/8", "10.1.0.0/16", "out world 10.2.2.3 tcp 80 9", true },
	      { "10.1.2.0/24,10.0.0.0/8", "10.1.0.0/16", "out world 10.1.2.3 tcp 80 9", true },
	      { "1.1.1.1", "1.0.0.0/8", "out world 1.1.1.1 tcp 80 9", true },
	      { "1.0.0.0/8", "1.1.1.1", "out world 1.1.1.1 tcp 80 9", false });
}

static void test_block_wins_ties(void **state)
{
	(void)state;
	CHECK({ "10.0.0.0/8", "10.0.0.0/8", "out world 10.1.2.3 tcp 80 9", false },
	      { "0.0.0.0/0", "0.0.0.0/0", "out world 1.1.1.1 tcp 80 9", false },
	      { "10.0.0.0/8:80", "10.0.0.0/8:1-1024", "out world 10.1.2.3 tcp 80 9", false },
	      { "out 10.0.0.0/8", "10.0.0.0/8", "out world 10.1.2.3 tcp 80 9", false },
	      { "10.0.0.0/8", "out 10.0.0.0/8", "out world 10.1.2.3 tcp 80 9", false },
	      { "@host", "@host", "out host 192.168.64.1 tcp 22 9", false });
}

static void test_block_all_but_one_lan(void **state)
{
	(void)state;
	CHECK({ "192.168.1.0/24", "0.0.0.0/0", "out world 192.168.1.9 tcp 80 9", true },
	      { "192.168.1.0/24", "0.0.0.0/0", "out world 1.1.1.1 tcp 80 9", false },
	      { "192.168.1.0/24", "0.0.0.0/0", "out world 192.168.2.9 tcp 80 9", false });
}

static void test_block_all_leaves_the_host_its_way_in(void **state)
{
	(void)state;
	CHECK({ NULL, "0.0.0.0/0", "in host 192.168.64.1 tcp 9 22", true },
	      { NULL, "0.0.0.0/0", "out host 192.168.64.1 tcp 22 9", false },
	      { NULL, "@host", "in host 192.168.64.1 tcp 9 22", true },
	      { NULL, "192.168.64.1", "in host 192.168.64.1 tcp 9 22", true });
}

static void test_host_bits_are_cleared(void **state)
{
	(void)state;
	check_rules("10.1.2.3/8", NULL,
		    "mode pass out wg 10.0.0.0/8 any\nmode pass in g 10.0.0.0/8 any\n");
}

static void test_duplicates_are_one_rule(void **state)
{
	(void)state;
	check_rules("10.1.2.3/8,10.0.0.0/8, 10.9.9.9/8", NULL,
		    "mode pass out wg 10.0.0.0/8 any\nmode pass in g 10.0.0.0/8 any\n");
	check_rules("@host,@host", NULL, "mode pass out h any any\n");
}

/* The host. */

static void test_host_is_opened_by_its_word(void **state)
{
	(void)state;
	CHECK({ "@host", NULL, "out host 192.168.64.1 tcp 22 9", true },
	      { "@host", NULL, "out host 8.8.8.8 icmp", true },
	      { "@host", "0.0.0.0/0", "out host 192.168.64.1 tcp 22 9", true },
	      { "@host", "0.0.0.0/0", "out world 1.1.1.1 tcp 22 9", false },
	      { "@host", NULL, "out guests 192.168.64.6 tcp 22 9", false });
	check_rules("@host", NULL, "mode pass out h any any\n");
}

static void test_host_is_opened_by_its_address(void **state)
{
	(void)state;
	CHECK({ "192.168.64.1/32", NULL, "out host 192.168.64.1 tcp 22 9", true },
	      { "192.168.64.1", NULL, "out host 192.168.64.1 tcp 22 9", true },
	      { "192.168.64.1:22", NULL, "out host 192.168.64.1 tcp 22 9", true },
	      { "192.168.64.1:22", NULL, "out host 192.168.64.1 tcp 23 9", false },
	      { "192.168.64.1", NULL, "out host 192.168.1.7 tcp 22 9", false });
}

static void test_host_is_not_opened_by_a_prefix_that_covers_it(void **state)
{
	(void)state;
	CHECK({ "192.168.64.0/31", NULL, "out host 192.168.64.1 tcp 22 9", false },
	      { "192.168.0.0/16", NULL, "out host 192.168.64.1 tcp 22 9", false },
	      { "0.0.0.0/0", NULL, "out host 192.168.64.1 tcp 22 9", false },
	      { "0.0.0.0/0:22", NULL, "out host 192.168.64.1 tcp 22 9", false });
}

static void test_host_address_outranks_its_word(void **state)
{
	(void)state;
	CHECK({ "192.168.1.7", "@host", "out host 192.168.1.7 tcp 22 9", true },
	      { "192.168.1.7", "@host", "out host 192.168.64.1 tcp 22 9", false },
	      { "@host", "192.168.1.7", "out host 192.168.1.7 tcp 22 9", false },
	      { "@host", "192.168.1.7", "out host 192.168.64.1 tcp 22 9", true });
}

/* Directions. */

static void test_bare_target_is_what_the_guest_opens(void **state)
{
	(void)state;
	CHECK({ "10.0.0.0/8", NULL, "in world 10.0.0.1 tcp 9 22", false },
	      { NULL, "1.1.1.1", "out world 1.1.1.1 tcp 80 9", false },
	      { NULL, "1.1.1.1", "in world 1.1.1.1 tcp 9 22", true });
}

static void test_bare_target_is_what_other_guests_open(void **state)
{
	(void)state;
	CHECK({ "192.168.64.0/24", NULL, "out guests 192.168.64.6 tcp 22 9", true },
	      { "192.168.64.0/24", NULL, "in guests 192.168.64.6 tcp 9 22", true },
	      { "192.168.64.0/24", "192.168.64.6", "in guests 192.168.64.6 tcp 9 22", false },
	      { "192.168.64.6", NULL, "in guests 192.168.64.7 tcp 9 22", false });
	check_rules("192.168.64.6", NULL,
		    "mode pass out whg 192.168.64.6/32 any\nmode pass in g 192.168.64.6/32 any\n");
}

/* Both policies have to pass: this is the one of either. */
static void test_allow_all_on_both_lets_guests_meet(void **state)
{
	(void)state;
	CHECK({ "0.0.0.0/0", NULL, "out guests 192.168.64.6 tcp 22 9", true },
	      { "0.0.0.0/0", NULL, "in guests 192.168.64.6 tcp 9 22", true },
	      { "0.0.0.0/0", NULL, "out world 10.0.0.1 icmp", true },
	      { "0.0.0.0/0", NULL, "out world 169.254.169.254 tcp 80 9", true });
}

static void test_in(void **state)
{
	(void)state;
	CHECK({ "in 10.0.0.0/8", NULL, "in world 10.0.0.1 tcp 9 22", true },
	      { "in 10.0.0.0/8", NULL, "out world 10.0.0.1 tcp 22 9", false },
	      { NULL, "in @host", "in host 192.168.64.1 tcp 9 22", false },
	      { "@host", "in @host", "out host 192.168.64.1 tcp 22 9", true },
	      { "@host", "in @host", "in host 192.168.64.1 tcp 9 22", false },
	      { NULL, "in 192.168.64.1", "in host 192.168.64.1 tcp 9 22", false },
	      { NULL, "in 192.168.64.0/24", "in host 192.168.64.1 tcp 9 22", true });
}

static void test_out(void **state)
{
	(void)state;
	CHECK({ "out 10.0.0.0/8", NULL, "out world 10.0.0.1 tcp 22 9", true },
	      { "out 10.0.0.0/8", NULL, "in world 10.0.0.1 tcp 9 22", false },
	      { "out 192.168.64.0/24", NULL, "out guests 192.168.64.6 tcp 22 9", true },
	      { "out 192.168.64.0/24", NULL, "in guests 192.168.64.6 tcp 9 22", false },
	      { "out @host", "0.0.0.0/0", "out host 192.168.64.1 tcp 22 9", true });
}

static void test_one_direction_makes_bare_targets_both(void **state)
{
	(void)state;
	CHECK({ "10.0.0.0/8,in 11.0.0.0/8", NULL, "in world 10.0.0.1 tcp 9 22", true },
	      { "10.0.0.0/8", "in 11.0.0.0/8", "in world 10.0.0.1 tcp 9 22", true },
	      { "out @host", "1.1.1.1", "in world 1.1.1.1 tcp 9 22", false },
	      { "out 10.0.0.0/8", "@host", "in host 192.168.64.1 tcp 9 22", false },
	      { "out example.org", "1.1.1.1", "in world 1.1.1.1 tcp 9 22", false });
	check_rules("out 10.0.0.0/8,192.168.64.6", "@host",
		    "mode pass both whg 192.168.64.6/32 any\n"
		    "mode pass out wg 10.0.0.0/8 any\n"
		    "mode block both h any any\n");
}

static void test_older_words_for_directions(void **state)
{
	(void)state;
	check_rules("from 10.0.0.0/8,to 11.0.0.0/8,from @host", NULL,
		    "mode pass out wg 11.0.0.0/8 any\n"
		    "mode pass in wg 10.0.0.0/8 any\n"
		    "mode pass in h any any\n");
}

/* Ports. */

static void test_ports(void **state)
{
	(void)state;
	CHECK({ "10.0.0.0/8:443", NULL, "out world 10.0.0.1 tcp 443 9", true },
	      { "10.0.0.0/8:443", NULL, "out world 10.0.0.1 udp 443 9", true },
	      { "10.0.0.0/8:443", NULL, "out world 10.0.0.1 tcp 444 9", false },
	      { "10.0.0.0/8:443", NULL, "out world 10.0.0.1 icmp 443 9", false },
	      { "10.0.0.0/8:80-90", NULL, "out world 10.0.0.1 tcp 90 9", true },
	      { "10.0.0.0/8:80-90", NULL, "out world 10.0.0.1 tcp 91 9", false },
	      { "10.0.0.1:80", NULL, "out world 10.0.0.1 tcp 80 9", true },
	      { NULL, "0.0.0.0/0:25", "out world 1.1.1.1 tcp 25 9", false },
	      { NULL, "0.0.0.0/0:25", "out world 1.1.1.1 tcp 26 9", true },
	      { "10.0.0.0/8:1-65535", NULL, "out world 10.0.0.1 icmp", false });
}

static void test_ports_are_the_remotes_in_both_directions(void **state)
{
	(void)state;
	CHECK({ "in 10.0.0.0/8:22", NULL, "in world 10.0.0.1 tcp 22 4000", true },
	      { "in 10.0.0.0/8:22", NULL, "in world 10.0.0.1 tcp 4000 22", false },
	      { "192.168.64.0/24:22", NULL, "in guests 192.168.64.6 udp 22 4000", true });
}

static void test_ports_outrank_a_longer_prefix_without(void **state)
{
	(void)state;
	CHECK({ "10.0.0.0/8:80", "10.0.0.1", "out world 10.0.0.1 tcp 80 9", true },
	      { "10.0.0.0/8:80", "10.0.0.1", "out world 10.0.0.1 tcp 81 9", false },
	      { "10.0.0.1", "10.0.0.0/8:80", "out world 10.0.0.1 tcp 80 9", false },
	      { "0.0.0.0/0:80", "10.0.0.1", "out world 10.0.0.1 tcp 80 9", true });
}

static void test_longest_prefix_among_ports(void **state)
{
	(void)state;
	CHECK({ "10.0.0.0/8:80", "10.1.0.0/16:1-99", "out world 10.1.0.1 tcp 80 9", false },
	      { "10.1.0.0/16:1-99", "10.0.0.0/8:80", "out world 10.1.0.1 tcp 80 9", true });
}

/* Names. */

static void test_name_outranks_block_all(void **state)
{
	(void)state;
	CHECK({ "example.org", "0.0.0.0/0", "out world 1.1.1.1 tcp 80 9 named", true },
	      { "example.org", "0.0.0.0/0", "out world 1.1.1.1 tcp 80 9", false },
	      { "example.org", NULL, "out world 1.1.1.1 tcp 80 9", true });
}

static void test_name_does_not_outrank_a_longer_block(void **state)
{
	(void)state;
	CHECK({ "example.org", "1.0.0.0/8", "out world 1.1.1.1 tcp 80 9 named", false },
	      { "example.org", "0.0.0.0/1", "out world 1.1.1.1 tcp 80 9 named", false },
	      { "example.org", "0.0.0.0/0:80", "out world 1.1.1.1 tcp 80 9 named", false });
}

static void test_name_is_for_the_world_and_out_alone(void **state)
{
	(void)state;
	CHECK({ "example.org", NULL, "out host 192.168.64.1 tcp 80 9 named", false },
	      { "example.org", NULL, "out guests 192.168.64.6 tcp 80 9 named", false },
	      { "example.org", "in 0.0.0.0/0", "in world 1.1.1.1 tcp 9 80 named", false });
	check_rules("example.org", NULL, "mode pass out w any any named\n");
}

static void test_names_are_kept(void **state)
{
	static const char *const expected[] = { "*.example.org", "a.test", "example.org" };
	auto_policy policy = POLICY_INIT;

	(void)state;
	must_compile("Example.ORG, *.example.org,example.org.,out a.test", NULL, &policy);
	assert_int_equal(policy.names.len, array_size(expected));
	for (size_t i = 0; i < array_size(expected); i++)
		assert_string_equal(policy.names.items[i], expected[i]);
}

static void test_names_only_where_all_is_blocked(void **state)
{
	static const struct {
		const char *allow, *block;
		bool only;
	} lists[] = {
		{ NULL, NULL, false },
		{ "example.org", NULL, false },
		{ "example.org", "0.0.0.0/0", true },
		{ NULL, "0.0.0.0/0", true },
		{ "0.0.0.0/0", "0.0.0.0/0", true },
		{ "10.0.0.0/8", "10.0.0.0/8,1.2.3.4/0", true },
		{ NULL, "out 0.0.0.0/0", true },
		{ NULL, "in 0.0.0.0/0", false },
		{ NULL, "0.0.0.0/0:53", false },
		{ NULL, "128.0.0.0/1", false },
		{ NULL, "@host", false },
		{ "0.0.0.0/0", NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < array_size(lists); i++) {
		auto_policy policy = POLICY_INIT;

		must_compile(lists[i].allow, lists[i].block, &policy);
		assert_int_equal(policy.names_only, lists[i].only);
	}
}

/* The order. */

static void test_order(void **state)
{
	(void)state;
	check_rules("0.0.0.0/0,@host,example.org,10.0.0.0/8,1.2.3.4,10.0.0.0/8:80,0.0.0.0/0:1-9",
		    "0.0.0.0/0,10.0.0.0/8,10.0.0.0/8:80-81,out 10.1.0.0/16",
		    "mode block both wg 10.0.0.0/8:80-81 any\n"
		    "mode pass both wg 10.0.0.0/8:80-80 any\n"
		    "mode pass both wg any:1-9 any\n"
		    "mode pass both whg 1.2.3.4/32 any\n"
		    "mode block out wg 10.1.0.0/16 any\n"
		    "mode block both wg 10.0.0.0/8 any\n"
		    "mode pass both wg 10.0.0.0/8 any\n"
		    "mode pass out w any any named\n"
		    "mode block both wg any any\n"
		    "mode pass both h any any\n"
		    "mode pass both wg any any\n");
}

/*
 * The model in other words: of all targets that cover the remote the longest
 * decides, a block among equals; for what no target covers, the default.
 */
struct model {
	char text[32];
	struct prefix prefix;
	bool pass;
};

static bool model_passes(const struct model *targets, size_t n, struct in_addr remote)
{
	int best = -1;
	bool pass = !policy_is_closed(remote);

	for (size_t i = 0; i < n; i++) {
		const struct model *t = &targets[i];

		if (!prefix_holds(t->prefix.address, t->prefix.bits, remote) ||
		    t->prefix.bits < best)
			continue;
		pass = t->prefix.bits > best ? t->pass : pass && t->pass;
		best = t->prefix.bits;
	}
	return pass;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = (uint32_t)(*seed * 1664525ULL + 1013904223U);
	return *seed >> 8;
}

static void make_model(struct model *targets, size_t n, uint32_t *seed)
{
	for (size_t i = 0; i < n; i++) {
		struct error err = ERROR_INIT;
		struct model *t = &targets[i];

		(void)snprintf(t->text, sizeof(t->text), "%u.%u.%u.%u/%u",
			       8 + next_random(seed) % 4, next_random(seed) % 2,
			       next_random(seed) % 2, next_random(seed) % 2,
			       next_random(seed) % 33);
		t->pass = next_random(seed) % 2;
		assert_int_equal(prefix_parse((struct slice){ (const uint8_t *)t->text,
							      strlen(t->text) },
					      &t->prefix, &err),
				 0);
	}
}

static void test_as_longest_prefix_by_random(void **state)
{
	enum { ROUNDS = 200, TARGETS = 12, FLOWS = 64 };
	uint32_t seed = 4;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		struct model targets[TARGETS];
		auto_strings allow = VEC_INIT, block = VEC_INIT;
		auto_policy policy = POLICY_INIT;
		struct error err = ERROR_INIT;

		make_model(targets, TARGETS, &seed);
		for (int i = 0; i < TARGETS; i++)
			strings_add(targets[i].pass ? &allow : &block, targets[i].text);
		assert_int_equal(softnet_compile(&allow, &block, &policy, &err), 0);
		for (int i = 0; i < FLOWS; i++) {
			struct policy_flow flow = vector_flow("out world 0.0.0.0 icmp");

			flow.remote.s_addr = htonl((8 + next_random(&seed) % 4) << 24 |
						   (next_random(&seed) & 0x010101));
			assert_int_equal(policy_passes(&policy, &flow),
					 model_passes(targets, TARGETS, flow.remote));
		}
	}
}

/* How lists are written. */

static void test_commas_and_blanks(void **state)
{
	(void)state;
	check_rules(" 10.0.0.0/8 ,\t@host,in \t 11.0.0.0/8 ", NULL,
		    "mode pass both wg 10.0.0.0/8 any\n"
		    "mode pass in wg 11.0.0.0/8 any\n"
		    "mode pass both h any any\n");
}

static void test_several_elements(void **state)
{
	auto_strings allow = VEC_INIT, block = VEC_INIT;
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	strings_add(&allow, "10.0.0.0/8,11.0.0.0/8");
	strings_add(&allow, "172.16.0.0/12");
	assert_int_equal(softnet_compile(&allow, &block, &policy, &err), 0);
	assert_true(vector_passes(&policy, "out world 172.16.0.1 tcp 80 9"));
	assert_true(vector_passes(&policy, "out world 10.16.0.1 tcp 80 9"));
}

static void test_empty_list(void **state)
{
	(void)state;
	check_rules("", "", "");
	check_rules(" \t", NULL, "");
}

static void test_errors(void **state)
{
	static const struct {
		const char *target, *says;
	} bad[] = {
		{ "10.0.0.0/33", "'/33' is not a prefix between /0 and /32" },
		{ "10.0.0.0/", "'/' is not a prefix between /0 and /32" },
		{ "10.0.0.300", "'10.0.0.300' is not an IPv4 address" },
		{ "1.2.3", "'1.2.3' is not an IPv4 address" },
		{ "10", "'10' is not an IPv4 address" },
		{ "10.0.0.0.0/8", "'10.0.0.0.0' is not an IPv4 address" },
		{ "10.0.0.0 /8", "neither a CIDR nor '@host' nor a name" },
		{ "10.0.0.0/8:", "'' is not a port between 1 and 65535" },
		{ "10.0.0.0/8:0", "'0' is not a port between 1 and 65535" },
		{ "10.0.0.0/8:65536", "'65536' is not a port between 1 and 65535" },
		{ "10.0.0.0/8:http", "'http' is not a port between 1 and 65535" },
		{ "10.0.0.0/8:1-", "'' is not a port between 1 and 65535" },
		{ "10.0.0.0/8:-1", "'' is not a port between 1 and 65535" },
		{ "10.0.0.0/8:1-2-3", "'2-3' is not a port between 1 and 65535" },
		{ "10.0.0.0/8:1:2", "'1:2' is not a port between 1 and 65535" },
		{ "10.0.0.0/8:9-8", "the range of ports ends before it begins" },
		{ "::/0", "IPv6 is not supported" },
		{ "2001:db8::1", "IPv6 is not supported" },
		{ "[2001:db8::1]:80", "IPv6 is not supported" },
		{ "in fe80::/10", "IPv6 is not supported" },
		{ "in", "an address, '@host' or a name is missing" },
		{ "from", "an address, '@host' or a name is missing" },
		{ "in in 10.0.0.0/8", "neither a CIDR nor '@host' nor a name" },
		{ "IN 10.0.0.0/8", "neither a CIDR nor '@host' nor a name" },
		{ "in10.0.0.0/8", "neither a CIDR nor '@host' nor a name" },
		{ "@hosts", "neither a CIDR nor '@host' nor a name" },
		{ "@host.", "neither a CIDR nor '@host' nor a name" },
		{ "@HOST", "neither a CIDR nor '@host' nor a name" },
		{ "a b:22", "neither a CIDR nor '@host' nor a name" },
		{ "@host:22", "only a CIDR can have ports" },
		{ "example.org:443", "only a CIDR can have ports" },
		{ "example.org/24", "neither a CIDR nor '@host' nor a name" },
		{ "-example.org", "neither a CIDR nor '@host' nor a name" },
		{ "*", "neither a CIDR nor '@host' nor a name" },
		{ "a.*.org", "neither a CIDR nor '@host' nor a name" },
		{ "example.org..", "neither a CIDR nor '@host' nor a name" },
		{ "host.300", "neither a CIDR nor '@host' nor a name" },
		{ "in example.org", "names are only for what the guest opens" },
	};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_policy policy = POLICY_INIT;
		auto_free char *says = str_format("invalid --net-softnet-allow target \"%s\": %s",
						  bad[i].target, bad[i].says);

		assert_int_equal(compile(bad[i].target, NULL, &policy, &err), -E_INVALID);
		assert_string_equal(err.text, says);
	}
}

static void test_errors_say_which_list(void **state)
{
	static const struct {
		const char *allow, *block, *says;
	} bad[] = {
		{ NULL, "1.2.3",
		  "invalid --net-softnet-block target \"1.2.3\": '1.2.3' is not an IPv4 address" },
		{ "10.0.0.0/8, 1.2.3 ", NULL,
		  "invalid --net-softnet-allow target \"1.2.3\": '1.2.3' is not an IPv4 address" },
		{ NULL, "example.org",
		  "invalid --net-softnet-block target \"example.org\": names can only be allowed" },
		{ NULL, "out *.example.org",
		  "invalid --net-softnet-block target \"out *.example.org\": "
		  "names can only be allowed" },
		{ "10.0.0.0/8\x1b[2J", NULL,
		  "invalid --net-softnet-allow target \"10.0.0.0/8?[2J\": "
		  "'/8?[2J' is not a prefix between /0 and /32" },
	};
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_policy policy = POLICY_INIT;

		assert_int_equal(compile(bad[i].allow, bad[i].block, &policy, &err), -E_INVALID);
		assert_string_equal(err.text, bad[i].says);
	}
}

static void test_empty_target(void **state)
{
	static const char *const bad[] = { ",", "10.0.0.0/8,", ",10.0.0.0/8", "@host, ,@host" };
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_policy policy = POLICY_INIT;

		assert_int_equal(compile(bad[i], NULL, &policy, &err), -E_INVALID);
		assert_string_equal(err.text, "invalid --net-softnet-allow target \"\": "
					      "an address, '@host' or a name is missing");
	}
}

static void test_error_changes_nothing(void **state)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(compile("example.org,@host", "0.0.0.0/0,x/y", &policy, &err), -E_INVALID);
	assert_int_equal(policy.rules.len + policy.names.len, 0);
	assert_false(policy.names_only);
}

/* Appended to what the VM's own text gave. */
static void test_appended(void **state)
{
	auto_policy policy = POLICY_INIT;

	(void)state;
	policy_add_no_local(&policy);
	must_compile("@host", NULL, &policy);
	assert_int_equal(policy.rules.items[0].stage, POLICY_OWN);
	assert_int_equal(policy.rules.items[1].stage, POLICY_MODE);
	assert_false(vector_passes(&policy, "out host 192.168.64.1 tcp 22 9"));
}

/* Sizes. */

static void add_targets(struct strings *list, unsigned first, unsigned count)
{
	auto_str text = STR_INIT;

	for (unsigned i = first; i < first + count; i++)
		str_addf(&text, "%s10.%u.%u.0/24", i == first ? "" : ",", i / 256, i % 256);
	strings_add(list, text.ptr);
}

static void test_4096_targets_of_both_lists(void **state)
{
	auto_strings allow = VEC_INIT, block = VEC_INIT;
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	add_targets(&allow, 0, POLICY_TARGETS_MAX / 2);
	add_targets(&block, POLICY_TARGETS_MAX / 2, POLICY_TARGETS_MAX / 2);
	assert_int_equal(softnet_compile(&allow, &block, &policy, &err), 0);
	assert_int_equal(policy_check(&policy, &err), 0); /* so it fits POLICY_RULES_MAX */
	strings_add(&block, "1.1.1.1");
	assert_int_equal(softnet_compile(&allow, &block, &policy, &err), -E_TOO_BIG);
	assert_string_equal(err.text, "--net-softnet-block: more than 4096 targets");
}

static void test_1024_names(void **state)
{
	auto_strings allow = VEC_INIT, block = VEC_INIT;
	auto_policy policy = POLICY_INIT, more = POLICY_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i < POLICY_NAMES_MAX; i++)
		strings_addf(&allow, "n%d.org,N%d.org", i, i);
	assert_int_equal(softnet_compile(&allow, &block, &policy, &err), 0);
	assert_int_equal(policy.names.len, POLICY_NAMES_MAX);
	strings_add(&allow, "one.more");
	assert_int_equal(softnet_compile(&allow, &block, &more, &err), -E_TOO_BIG);
	assert_string_equal(err.text, "--net-softnet-allow: more than 1024 names");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_default_world_is_open),
		cmocka_unit_test(test_default_closed_ranges),
		cmocka_unit_test(test_default_guests_are_closed),
		cmocka_unit_test(test_default_guest_opens_nothing_to_the_host),
		cmocka_unit_test(test_allow_opens_a_closed_range),
		cmocka_unit_test(test_longest_prefix_wins),
		cmocka_unit_test(test_block_wins_ties),
		cmocka_unit_test(test_block_all_but_one_lan),
		cmocka_unit_test(test_block_all_leaves_the_host_its_way_in),
		cmocka_unit_test(test_host_bits_are_cleared),
		cmocka_unit_test(test_duplicates_are_one_rule),
		cmocka_unit_test(test_host_is_opened_by_its_word),
		cmocka_unit_test(test_host_is_opened_by_its_address),
		cmocka_unit_test(test_host_is_not_opened_by_a_prefix_that_covers_it),
		cmocka_unit_test(test_host_address_outranks_its_word),
		cmocka_unit_test(test_bare_target_is_what_the_guest_opens),
		cmocka_unit_test(test_bare_target_is_what_other_guests_open),
		cmocka_unit_test(test_allow_all_on_both_lets_guests_meet),
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_out),
		cmocka_unit_test(test_one_direction_makes_bare_targets_both),
		cmocka_unit_test(test_older_words_for_directions),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_ports_are_the_remotes_in_both_directions),
		cmocka_unit_test(test_ports_outrank_a_longer_prefix_without),
		cmocka_unit_test(test_longest_prefix_among_ports),
		cmocka_unit_test(test_name_outranks_block_all),
		cmocka_unit_test(test_name_does_not_outrank_a_longer_block),
		cmocka_unit_test(test_name_is_for_the_world_and_out_alone),
		cmocka_unit_test(test_names_are_kept),
		cmocka_unit_test(test_names_only_where_all_is_blocked),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_as_longest_prefix_by_random),
		cmocka_unit_test(test_commas_and_blanks),
		cmocka_unit_test(test_several_elements),
		cmocka_unit_test(test_empty_list),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_errors_say_which_list),
		cmocka_unit_test(test_empty_target),
		cmocka_unit_test(test_error_changes_nothing),
		cmocka_unit_test(test_appended),
		cmocka_unit_test(test_4096_targets_of_both_lists),
		cmocka_unit_test(test_1024_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
