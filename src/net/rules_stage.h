/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RULES_STAGE_H
#define NET_RULES_STAGE_H

/*
 * One stage of a policy as the rules of a chain, for whatever table: that of
 * routed cards (net/rules_policy.c) or one of a bridged card (net/rules_bridged.h).
 *
 * Each rule becomes a line, but a run of rules that look at nothing but the
 * remote's prefix becomes one lookup in an interval map: prefixes that overlap are cut
 * into disjoint ranges, each with the verdict of the first rule that has it; of the last run
 * of a stage the blocked ones alone, for an element costs nft some microseconds. The
 * maps are anonymous, so they go with the rule. "pass" returns to who jumped here,
 * the next stage; "block" goes to the chain that counts.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "net/policy.h"

/* The words of a table, and which packets they are about. */
struct rules_words {
	const char *table; /* with its family; it has a set "ported" of TCP and UDP */
	enum policy_direction direction;
	uint8_t kinds; /* of remotes that can be told apart there; other rules do not matter */
	/* the match of packets whose remote is one of @kinds; NULL: it takes a line for each */
	const char *(*match)(enum policy_direction direction, uint8_t kinds);
	const char *block; /* chain that counts and drops */
	const char *named; /* set of the addresses that the policy's names gave */
};

/* Add the rules of the stage to @chain, which is there and empty. */
void rules_add_stage(struct str *text, const struct rules_words *words, const char *chain,
		     const struct policy_rules *rules, enum policy_stage stage);
/* Has the stage any? */
bool rules_has_stage(const struct rules_words *words, const struct policy_rules *rules,
		     enum policy_stage stage);
/* Does the rule look at ports? */
bool rules_has_ports(const struct policy_rule *rule);

#endif
