/* SPDX-License-Identifier: Apache-2.0 */
#include "net/policy_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "net/helper.h"

/* Two rules, two names. */
static void make_policy(struct policy *policy)
{
	struct policy_rule rule = POLICY_RULE_INIT;

	rule.stage = POLICY_OWN;
	rule.pass = 0;
	rule.protocol = IPPROTO_TCP;
	rule.remote_ports = (struct policy_ports){ 80, 90 };
	policy_rules_add(&policy->rules, rule);
	rule = (struct policy_rule)POLICY_RULE_INIT;
	rule.named = 1;
	policy_rules_add(&policy->rules, rule);
	strings_add(&policy->names, "example.org");
	strings_add(&policy->names, "*.a.test");
	policy->names_only = true;
}

static void make_packet(struct str *packet)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	make_policy(&policy);
	assert_int_equal(policy_message_write(&policy, packet, &err), 0);
}

/* Reads from a block of just that size, so that a sanitizer sees an overrun. */
static int read_packet(const struct str *packet, struct policy *policy, struct error *err)
{
	auto_free uint8_t *exact = xmalloc(packet->len + 1);

	memcpy(exact + 1, packet->ptr, packet->len); /* at an odd address, too */
	return policy_message_read(exact + 1, packet->len, policy, err);
}

static void refuse(const struct str *packet, const char *says)
{
	auto_policy policy = POLICY_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(read_packet(packet, &policy, &err), -E_PROTOCOL);
	assert_string_equal(err.text, says);
	assert_int_equal(policy.rules.len + policy.names.len, 0);
	assert_false(policy.names_only);
}

static struct net_policy *head_of(const struct str *packet)
{
	return (struct net_policy *)(void *)packet->ptr;
}

static struct policy_rule *rule_of(const struct str *packet, size_t i)
{
	return (struct policy_rule *)(void *)(packet->ptr + sizeof(struct net_policy)) + i;
}

static void test_there_and_back(void **state)
{
	auto_policy policy = POLICY_INIT, back = POLICY_INIT;
	auto_str packet = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	make_policy(&policy);
	assert_int_equal(policy_message_write(&policy, &packet, &err), 0);
	assert_int_equal(read_packet(&packet, &back, &err), 0);
	assert_int_equal(back.rules.len, policy.rules.len);
	assert_memory_equal(back.rules.items, policy.rules.items,
			    policy.rules.len * sizeof(struct policy_rule));
	assert_int_equal(back.names.len, 2);
	assert_string_equal(back.names.items[0], "example.org");
	assert_string_equal(back.names.items[1], "*.a.test");
	assert_true(back.names_only);
}

static void test_empty_policy(void **state)
{
	auto_policy policy = POLICY_INIT;
	auto_str packet = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(policy_message_write(&policy, &packet, &err), 0);
	assert_int_equal(packet.len, sizeof(struct net_policy));
	assert_int_equal(read_packet(&packet, &policy, &err), 0);
	assert_int_equal(policy.rules.len + policy.names.len, 0);
	assert_false(policy.names_only);
}

static void test_written_form(void **state)
{
	static const char names[] = "example.org\0*.a.test";
	auto_str packet = STR_INIT;
	const struct net_policy *head;

	(void)state;
	make_packet(&packet);
	head = head_of(&packet);
	assert_int_equal(packet.len,
			 sizeof(*head) + 2 * sizeof(struct policy_rule) + sizeof(names));
	assert_int_equal(head->magic, NET_MAGIC);
	assert_int_equal(head->kind, NET_POLICY);
	assert_int_equal(head->rule_count, 2);
	assert_int_equal(head->name_count, 2);
	assert_int_equal(head->names_size, sizeof(names));
	assert_int_equal(head->names_only, 1);
	assert_int_equal(head->reserved, 0);
	assert_memory_equal(packet.ptr + packet.len - sizeof(names), names, sizeof(names));
}

static void test_every_other_length_is_refused(void **state)
{
	auto_str packet = STR_INIT;
	size_t len;

	(void)state;
	make_packet(&packet);
	len = packet.len;
	str_adds(&packet, "more");
	refuse(&packet, "network helper: policy of another length than it says");
	for (str_set_len(&packet, len - 1);; str_chop(&packet, 1)) {
		refuse(&packet, packet.len < sizeof(struct net_policy)
					? "network helper: policy without its head"
					: "network helper: policy of another length than it says");
		if (packet.len == 0)
			break;
	}
}

static void test_unknown_head(void **state)
{
	auto_str packet = STR_INIT;

	(void)state;
	make_packet(&packet);
	head_of(&packet)->magic++;
	refuse(&packet, "network helper: policy of an unknown form");
	head_of(&packet)->magic--;
	head_of(&packet)->kind = NET_START;
	refuse(&packet, "network helper: policy of an unknown form");
	head_of(&packet)->kind = NET_POLICY;
	head_of(&packet)->reserved = 1;
	refuse(&packet, "network helper: policy of an unknown form");
	head_of(&packet)->reserved = 0;
	head_of(&packet)->names_only = 2;
	refuse(&packet, "network helper: policy of an unknown form");
}

static void test_counts_beyond_the_limits(void **state)
{
	auto_str packet = STR_INIT;

	(void)state;
	make_packet(&packet);
	head_of(&packet)->rule_count = POLICY_RULES_MAX + 1;
	refuse(&packet, "network helper: policy too big");
	head_of(&packet)->rule_count = 2;
	head_of(&packet)->name_count = POLICY_NAMES_MAX + 1;
	refuse(&packet, "network helper: policy too big");
	head_of(&packet)->name_count = 2;
	head_of(&packet)->names_size = NET_NAMES_SIZE_MAX + 1;
	refuse(&packet, "network helper: policy too big");
}

static void test_number_of_names(void **state)
{
	auto_str packet = STR_INIT;

	(void)state;
	make_packet(&packet);
	head_of(&packet)->name_count = 1;
	refuse(&packet, "network helper: policy with more names than it says");
	head_of(&packet)->name_count = 3;
	refuse(&packet, "network helper: policy with a name without an end");
}

static void test_last_name_without_an_end(void **state)
{
	auto_str packet = STR_INIT;

	(void)state;
	make_packet(&packet);
	packet.ptr[packet.len - 1] = 'x';
	refuse(&packet, "network helper: policy with a name without an end");
}

static void test_names_that_are_none(void **state)
{
	auto_str packet = STR_INIT;

	(void)state;
	make_packet(&packet);
	packet.ptr[packet.len - 2] = 'T';
	refuse(&packet, "network helper: policy: name 2 is none");
	packet.ptr[packet.len - 2] = '\0'; /* "*.a.tes" and an empty one */
	head_of(&packet)->name_count = 3;
	refuse(&packet, "network helper: policy: name 3 is none");
}

static void test_rules_of_the_host_are_refused(void **state)
{
	auto_str packet = STR_INIT;

	(void)state;
	make_packet(&packet);
	rule_of(&packet, 0)->stage = POLICY_HOST_WIDE;
	refuse(&packet, "network helper: policy with rules of the host's own");
}

static void test_rules_are_checked(void **state)
{
	auto_str packet = STR_INIT;

	(void)state;
	make_packet(&packet);
	rule_of(&packet, 1)->guest_prefix = 33;
	refuse(&packet, "network helper: policy: rule 2: not a prefix");
	rule_of(&packet, 1)->guest_prefix = 0;
	rule_of(&packet, 0)->stage = POLICY_MODE;
	rule_of(&packet, 1)->stage = POLICY_OWN;
	refuse(&packet, "network helper: policy: rule 2: stage out of order");
}

static void test_largest_policy(void **state)
{
	enum { NAMES = NET_NAMES_SIZE_MAX / 8 }; /* each of seven bytes and a NUL */
	struct policy_rule rule = POLICY_RULE_INIT;
	auto_policy policy = POLICY_INIT, back = POLICY_INIT;
	auto_str packet = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i < POLICY_RULES_MAX; i++)
		policy_rules_add(&policy.rules, rule);
	for (int i = 0; i < NAMES; i++)
		strings_addf(&policy.names, "a%04d.b", i);
	assert_int_equal(policy_message_write(&policy, &packet, &err), 0);
	assert_int_equal(packet.len, NET_POLICY_SIZE_MAX);
	assert_int_equal(read_packet(&packet, &back, &err), 0);
	assert_int_equal(back.names.len, NAMES);
	assert_int_equal(back.rules.len, POLICY_RULES_MAX);
}

static void test_too_many_rules(void **state)
{
	struct policy_rule rule = POLICY_RULE_INIT;
	auto_policy policy = POLICY_INIT;
	auto_str packet = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i <= POLICY_RULES_MAX; i++)
		policy_rules_add(&policy.rules, rule);
	assert_int_equal(policy_message_write(&policy, &packet, &err), -E_TOO_BIG);
	assert_int_equal(packet.len, 0);
}

static void test_too_many_names(void **state)
{
	auto_policy many = POLICY_INIT, large = POLICY_INIT;
	auto_str packet = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i <= POLICY_NAMES_MAX; i++)
		strings_add(&many.names, "a.b");
	assert_int_equal(policy_message_write(&many, &packet, &err), -E_TOO_BIG);
	for (int i = 0; i <= NET_NAMES_SIZE_MAX / 16; i++)
		strings_add(&large.names, "fifteen.bytes.x");
	assert_int_equal(policy_message_write(&large, &packet, &err), -E_TOO_BIG);
	assert_int_equal(packet.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_empty_policy),
		cmocka_unit_test(test_written_form),
		cmocka_unit_test(test_every_other_length_is_refused),
		cmocka_unit_test(test_unknown_head),
		cmocka_unit_test(test_counts_beyond_the_limits),
		cmocka_unit_test(test_number_of_names),
		cmocka_unit_test(test_last_name_without_an_end),
		cmocka_unit_test(test_names_that_are_none),
		cmocka_unit_test(test_rules_of_the_host_are_refused),
		cmocka_unit_test(test_rules_are_checked),
		cmocka_unit_test(test_largest_policy),
		cmocka_unit_test(test_too_many_rules),
		cmocka_unit_test(test_too_many_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
