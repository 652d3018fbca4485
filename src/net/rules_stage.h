/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RULES_STAGE_H
#define NET_RULES_STAGE_H

/*
 * One stage of a policy as the rules of a chain, for whatever table: that of
 * routed cards (net/rules_policy.c) or one of a bridged card (net/rules_words.h), which
 * write them down.
 *
 * Each rule becomes a line, but a run of rules that look at nothing but the
 * remote's prefix becomes one lookup in an interval map: prefixes that overlap are cut
 * into disjoint ranges, each with the verdict of the first rule that has it; those that
 * pass are left out where no later rule could block them, for an element costs some microseconds.
 * The maps are anonymous, so they go with the rule. "pass" returns to who jumped here, the next
 * stage; "block" goes to the chain that counts.
 */

#include <stdbool.h>
#include <stdint.h>

#include "net/nft_batch.h"
#include "net/policy.h"

/* Who writes the rules of one direction down, and which packets they are about. */
struct rules_writer {
	enum policy_direction direction;
	uint8_t kinds; /* of remotes that can be told apart there; other rules do not matter */
	/* can one line tell remotes of @kinds from all others? Else it takes one for each kind */
	bool (*tells)(uint8_t kinds);
	/* what @rule says, of remotes of @kinds */
	void (*add_line)(void *arg, const struct policy_rule *rule, uint8_t kinds);
	void (*add_map)(void *arg, const struct nft_ranges *ranges, uint8_t kinds);
	void *arg;
};

/* Write the rules of the stage. */
void rules_add_stage(const struct rules_writer *writer, const struct policy_rules *rules,
		     enum policy_stage stage);
/* Has the stage any? */
bool rules_has_stage(const struct rules_writer *writer, const struct policy_rules *rules,
		     enum policy_stage stage);
/* Does the rule look at ports? */
bool rules_has_ports(const struct policy_rule *rule);

/* How a writer matches a packet's fields: its source's, else its target's. */
struct rules_fields {
	void (*prefix)(void *arg, bool source, struct in_addr address, unsigned prefix);
	void (*protocol)(void *arg, uint8_t protocol); /* 0: any that has ports */
	void (*ports)(void *arg, bool source, const struct policy_ports *ports);
};
/* Match all that @rule looks at but kinds of remotes and names; protocols before ports, for nft. */
void rules_match_fields(const struct rules_fields *fields, void *arg,
			enum policy_direction direction, const struct policy_rule *rule);

#endif
