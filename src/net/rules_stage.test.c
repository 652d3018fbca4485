/* SPDX-License-Identifier: Apache-2.0 */

/* Random stages, written for a reader of their lines and maps, against policy_passes(). */

#include "net/rules_stage.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROUNDS = 3000, FLOWS = 60, RULES = 12 };

/* The packet of a flow on its way through the lines: the first one that matches decides. */
struct walk {
	struct policy_flow flow;
	bool decided, pass;
};

static void decide(struct walk *w, bool pass)
{
	if (!w->decided)
		w->pass = pass;
	w->decided = true;
}

static void add_line(void *arg, const struct policy_rule *rule, uint8_t kinds)
{
	struct walk *w = arg;
	struct policy policy = POLICY_INIT;
	struct policy_rule block = *rule;

	block.pass = 0;
	block.remotes = kinds;
	policy_rules_add(&policy.rules, block);
	if (!policy_passes(&policy, &w->flow))
		decide(w, rule->pass);
	policy_release(&policy);
}

static void add_map(void *arg, const struct nft_ranges *ranges, uint8_t kinds)
{
	struct walk *w = arg;
	uint32_t address = ntohl(w->flow.remote.s_addr);

	assert_true(ranges->len > 0);
	for (size_t i = 0; i < ranges->len; i++) {
		const struct nft_range *r = &ranges->items[i];

		assert_true(r->first <= r->last &&
			    (i == 0 || r->first > ranges->items[i - 1].last));
		if ((kinds & (unsigned)w->flow.kind) && address >= r->first && address <= r->last)
			decide(w, r->pass);
	}
}

static bool tells(uint8_t kinds)
{
	return kinds != (POLICY_HOST | POLICY_GUESTS);
}

static bool stages_pass(const struct policy *policy, const struct policy_flow *flow)
{
	for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_STAGES; s++) {
		struct walk w = { .flow = *flow };
		struct rules_writer writer = { flow->direction, POLICY_ALL, tells,
					       add_line,	add_map,    &w };

		rules_add_stage(&writer, &policy->rules, s);
		if (w.decided && !w.pass)
			return false;
	}
	return true;
}

static unsigned below(unsigned count)
{
	return (unsigned)random() % count;
}

/* Near the ends and near one another. */
static uint32_t random_address(void)
{
	static const uint32_t bases[] = { 0, 0xfffffff8, 0x7ffffffc, 0x0a000000, 0x0a0000fc };

	return bases[below(array_size(bases))] + below(8);
}

static struct policy_rule random_rule(enum policy_stage stage)
{
	static const uint8_t lengths[] = { 0, 1, 8, 24, 28, 30, 31, 32, 32 };
	struct policy_rule r = POLICY_RULE_INIT;

	r.stage = (uint8_t)stage;
	r.pass = (uint8_t)below(2);
	r.directions = (uint8_t)(below(3) ? POLICY_OUT | POLICY_IN : 1 + below(2));
	r.remotes = (uint8_t)(below(3) ? POLICY_ALL : 1 + below(POLICY_ALL));
	r.remote_prefix = lengths[below(array_size(lengths))];
	if (r.remote_prefix)
		r.remote.s_addr = htonl(random_address() & UINT32_MAX << (32 - r.remote_prefix));
	if (below(4) == 0)
		r.protocol = below(2) ? IPPROTO_UDP : IPPROTO_ICMP;
	if (r.protocol == IPPROTO_UDP && below(2))
		r.remote_ports = (struct policy_ports){ 1, 2 };
	if (!r.remote_prefix)
		r.named = (uint8_t)below(2);
	return r;
}

static struct policy_flow random_flow(void)
{
	return (struct policy_flow){
		.direction = below(2) ? POLICY_OUT : POLICY_IN,
		.kind = (enum policy_remote)(1 << below(3)),
		.protocol = below(2) ? IPPROTO_UDP : IPPROTO_ICMP,
		.named = below(2),
		.remote.s_addr = htonl(random_address()),
		.remote_port = (uint16_t)below(4),
	};
}

static void test_random_stages(void **state)
{
	(void)state;
	srandom(7);
	for (unsigned round = 0; round < ROUNDS; round++) {
		auto_policy policy = POLICY_INIT;

		for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_STAGES; s++)
			for (unsigned i = below(RULES); i > 0; i--)
				policy_rules_add(&policy.rules, random_rule(s));
		for (unsigned i = 0; i < FLOWS; i++) {
			struct policy_flow flow = random_flow();

			if (stages_pass(&policy, &flow) != policy_passes(&policy, &flow))
				fail_msg("round %u, flow %u", round, i);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_stages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
