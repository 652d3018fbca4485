/* SPDX-License-Identifier: Apache-2.0 */

/* Random policies against policy_passes(). */

#include "net/policy_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "net/policy_random.h"

static void compare(unsigned rounds, unsigned rules, unsigned flows)
{
	for (unsigned round = 0; round < rounds; round++) {
		auto_policy policy = POLICY_INIT;
		auto_policy_index index = POLICY_INDEX_INIT;

		random_policy(&policy, rules);
		policy_index_make(&index, &policy);
		for (unsigned i = 0; i < flows; i++) {
			struct policy_flow flow = random_flow();

			if (policy_index_passes(&index, &flow) != policy_passes(&policy, &flow))
				fail_msg("round %u, flow %u", round, i);
		}
	}
}

static void test_few_rules(void **state)
{
	(void)state;
	srandom(11);
	compare(3000, 12, 60);
}

static void test_many_rules(void **state)
{
	(void)state;
	srandom(12);
	compare(20, POLICY_RULES_MAX / POLICY_STAGES, 200);
}

/* Root's file and the VM's rules, as many of each as may be. */
static void test_most_rules(void **state)
{
	auto_policy policy = POLICY_INIT;
	auto_policy_index index = POLICY_INDEX_INIT;

	(void)state;
	for (unsigned i = 0; i < 2 * POLICY_RULES_MAX; i++)
		policy_rules_add(&policy.rules,
				 random_rule(i < POLICY_RULES_MAX ? POLICY_HOST_WIDE : POLICY_OWN));
	policy_index_make(&index, &policy);
	for (unsigned i = 0; i < 1000; i++) {
		struct policy_flow flow = random_flow();

		assert_int_equal(policy_index_passes(&index, &flow), policy_passes(&policy, &flow));
	}
}

static void test_no_rules(void **state)
{
	(void)state;
	compare(1, 1, 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_rules),
		cmocka_unit_test(test_many_rules),
		cmocka_unit_test(test_most_rules),
		cmocka_unit_test(test_no_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
