/* SPDX-License-Identifier: Apache-2.0 */

/* Random stages, written for a reader of their lines and maps, against policy_passes(). */

#include "net/rules_stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "net/policy_random.h"

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

static void test_random_stages(void **state)
{
	(void)state;
	srandom(7);
	for (unsigned round = 0; round < ROUNDS; round++) {
		auto_policy policy = POLICY_INIT;

		random_policy(&policy, RULES);
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
