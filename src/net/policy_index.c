/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The rules of a stage whose remote side is the same prefix form a list, in their order. An address
 * is in at most 33 prefixes, one of each length; so the first rule of the stage that matches is the
 * first of those that are first in at most 33 lists. Lists are found in a table with open
 * addressing, half empty at least. Rules that differ in all but the prefix share a list, which is
 * walked: a text of many ports costs what it cost before.
 */

#include "net/policy_index.h"

#include <assert.h>

#include "net/prefix.h"

enum { NO_RULE = UINT16_MAX };
_Static_assert(2 * (int)POLICY_RULES_MAX < (int)NO_RULE, "a number of root's and a VM's rules");

static size_t place_of(const struct policy_index *index, unsigned stage, in_addr_t network,
		       unsigned bits)
{
	uint64_t key = (uint64_t)network << 16 | bits << 8 | stage;

	key *= UINT64_C(0x9e3779b97f4a7c15); /* 2^64 divided by the golden ratio */
	return (size_t)(key >> 32) & index->mask;
}

/* The place of that list, or the empty one where it would be. */
static uint16_t *find(const struct policy_index *index, unsigned stage, in_addr_t network,
		      unsigned bits)
{
	size_t at = place_of(index, stage, network, bits);

	while (index->first[at] != NO_RULE) {
		const struct policy_rule *rule = &index->policy->rules.items[index->first[at]];

		if (rule->stage == stage && rule->remote_prefix == bits &&
		    rule->remote.s_addr == network)
			break;
		at = (at + 1) & index->mask;
	}
	return &index->first[at];
}

void policy_index_make(struct policy_index *index, const struct policy *policy)
{
	const struct policy_rules *rules = &policy->rules;
	size_t places = 2;

	assert(rules->len <= 2 * POLICY_RULES_MAX);
	while (places < 2 * rules->len)
		places *= 2;
	*index = (struct policy_index){
		.policy = policy,
		.first = xcalloc(places, sizeof(index->first[0])),
		.mask = places - 1,
		.next = xcalloc(rules->len + 1, sizeof(index->next[0])),
	};
	for (size_t i = 0; i < places; i++)
		index->first[i] = NO_RULE;
	/* from the last, so that each list begins with its first rule */
	for (size_t i = rules->len; i-- > 0;) {
		const struct policy_rule *rule = &rules->items[i];
		uint16_t *first =
			find(index, rule->stage, rule->remote.s_addr, rule->remote_prefix);

		index->next[i] = *first;
		*first = (uint16_t)i;
		index->lengths[rule->stage] |= UINT64_C(1) << rule->remote_prefix;
	}
}

void policy_index_release(struct policy_index *index)
{
	free(index->first);
	free(index->next);
	*index = (struct policy_index)POLICY_INDEX_INIT;
}

/* Of the list that begins with rule @i, the first rule before @end that matches; else @end. */
static unsigned first_match(const struct policy_index *index, unsigned i, unsigned end,
			    const struct policy_flow *flow)
{
	while (i < end && !policy_rule_matches(&index->policy->rules.items[i], flow))
		i = index->next[i];
	return i < end ? i : end;
}

static bool stage_passes(const struct policy_index *index, unsigned stage,
			 const struct policy_flow *flow)
{
	unsigned found = NO_RULE;

	for (unsigned bits = 0; bits <= 32; bits++) {
		in_addr_t network = flow->remote.s_addr & prefix_mask(bits);

		if (index->lengths[stage] & UINT64_C(1) << bits)
			found = first_match(index, *find(index, stage, network, bits), found, flow);
	}
	return found == NO_RULE || index->policy->rules.items[found].pass;
}

bool policy_index_passes(const struct policy_index *index, const struct policy_flow *flow)
{
	for (unsigned stage = 0; stage < POLICY_STAGES; stage++)
		if (!stage_passes(index, stage, flow))
			return false;
	return true;
}
