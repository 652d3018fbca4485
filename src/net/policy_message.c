/* SPDX-License-Identifier: Apache-2.0 */
#include "net/policy_message.h"

#include <string.h>

#include "base/error.h"
#include "net/helper.h"

static int measure_names(const struct strings *names, size_t *size, struct error *err)
{
	*size = 0;
	for (size_t i = 0; i < names->len; i++)
		*size += strlen(names->items[i]) + 1;
	if (names->len > POLICY_NAMES_MAX || *size > NET_NAMES_SIZE_MAX)
		return error_set(err, E_TOO_BIG,
				 "the names of a network policy are more than %d or %d bytes",
				 POLICY_NAMES_MAX, NET_NAMES_SIZE_MAX);
	return 0;
}

int policy_message_write(const struct policy *policy, struct str *packet, struct error *err)
{
	struct net_policy head = { .magic = NET_MAGIC, .kind = NET_POLICY };
	size_t names_size;
	int r = measure_names(&policy->names, &names_size, err);

	if (r < 0)
		return r;
	if (policy->rules.len > POLICY_RULES_MAX)
		return error_set(err, E_TOO_BIG, "a network policy of more than %d rules",
				 POLICY_RULES_MAX);
	head.rule_count = (uint16_t)policy->rules.len;
	head.name_count = (uint16_t)policy->names.len;
	head.names_size = (uint16_t)names_size;
	head.names_only = policy->names_only;
	str_add(packet, &head, sizeof(head));
	if (policy->rules.len)
		str_add(packet, policy->rules.items,
			policy->rules.len * sizeof(struct policy_rule));
	for (size_t i = 0; i < policy->names.len; i++)
		str_add(packet, policy->names.items[i], strlen(policy->names.items[i]) + 1);
	return 0;
}

static int fail(struct error *err, const char *what)
{
	return error_set(err, E_PROTOCOL, "network helper: policy %s", what);
}

static int read_head(const uint8_t *bytes, size_t len, struct net_policy *head, struct error *err)
{
	if (len < sizeof(*head))
		return fail(err, "without its head");
	memcpy(head, bytes, sizeof(*head));
	if (head->magic != NET_MAGIC || head->kind != NET_POLICY || head->reserved ||
	    head->names_only > 1)
		return fail(err, "of an unknown form");
	if (head->rule_count > POLICY_RULES_MAX || head->name_count > POLICY_NAMES_MAX ||
	    head->names_size > NET_NAMES_SIZE_MAX)
		return fail(err, "too big");
	if (len != sizeof(*head) + head->rule_count * sizeof(struct policy_rule) + head->names_size)
		return fail(err, "of another length than it says");
	return 0;
}

static int read_rules(const uint8_t *bytes, size_t count, struct policy *policy, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		struct policy_rule rule;

		memcpy(&rule, bytes + i * sizeof(rule), sizeof(rule));
		if (rule.stage == POLICY_HOST_WIDE)
			return fail(err, "with rules of the host's own");
		policy_rules_add(&policy->rules, rule);
	}
	return 0;
}

static int read_names(const char *bytes, const struct net_policy *head, struct policy *policy,
		      struct error *err)
{
	size_t left = head->names_size;

	for (size_t i = 0; i < head->name_count; i++) {
		size_t len = strnlen(bytes, left);

		if (len == left)
			return fail(err, "with a name without an end");
		strings_add(&policy->names, bytes);
		bytes += len + 1;
		left -= len + 1;
	}
	return left ? fail(err, "with more names than it says") : 0;
}

static int read_all(const uint8_t *bytes, const struct net_policy *head, struct policy *policy,
		    struct error *err)
{
	const uint8_t *rules = bytes + sizeof(*head);
	const uint8_t *names = rules + head->rule_count * sizeof(struct policy_rule);
	int r = read_rules(rules, head->rule_count, policy, err);

	if (r == 0)
		r = read_names((const char *)names, head, policy, err);
	if (r == 0 && policy_check(policy, err) < 0) {
		err->code = E_PROTOCOL; /* whatever it was called where a person wrote the rules */
		r = error_wrap(err, "network helper");
	}
	policy->names_only = head->names_only;
	return r;
}

int policy_message_read(const void *bytes, size_t len, struct policy *policy, struct error *err)
{
	auto_policy read = POLICY_INIT;
	struct net_policy head;
	int r = read_head(bytes, len, &head, err);

	if (r == 0)
		r = read_all(bytes, &head, &read, err);
	if (r < 0)
		return r;
	*policy = read;
	read = (struct policy)POLICY_INIT;
	return 0;
}
