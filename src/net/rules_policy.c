/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A policy as chains of one guest with a routed card. They are declared by nft's text,
 * closed; what is in them comes, and changes, by transactions of our own.
 *
 * Of each direction ("o", "i"): a chain for each stage but the last one ("o0", "o1"), the last one
 * in the guest's chain itself ("o"), where a flow's first packet goes to, and one that
 * counts and drops ("od").
 */

#include <stdio.h>
#include <string.h>

#include "net/rules.h"
#include "net/rules_stage.h"

#define INET "inet " RULES_TABLE

enum { CHAIN_MAX = sizeof("o0-") + SUBNET_NAME_SIZE };

/* The rules of one direction on their way into one chain. */
struct side {
	struct nft_batch *batch;
	enum policy_direction direction;
	char chain[CHAIN_MAX];
	char block[CHAIN_MAX];
	char named[CHAIN_MAX]; /* set of the addresses that the policy's names gave */
};

static void name_set(char set[CHAIN_MAX], const char *name)
{
	(void)snprintf(set, CHAIN_MAX, "n-%s", name);
}

static bool is_out(const struct side *s)
{
	return s->direction == POLICY_OUT;
}

static enum nft_field remote_address(const struct side *s)
{
	return is_out(s) ? NFT_TARGET_ADDRESS : NFT_SOURCE_ADDRESS;
}

/* The others take a line for each kind. */
static bool tells(uint8_t kinds)
{
	return kinds == POLICY_ALL || kinds == POLICY_WORLD || kinds == POLICY_GUESTS ||
	       kinds == POLICY_HOST || kinds == (POLICY_WORLD | POLICY_GUESTS);
}

/*
 * An interface that a packet does not have (to or from the host) matches neither form of a
 * group.
 */
static void begin_rule(const struct side *s, uint8_t kinds)
{
	nft_begin_rule(s->batch, s->chain);
	if (kinds == POLICY_WORLD || kinds == POLICY_GUESTS)
		nft_match_group(s->batch, is_out(s), RULES_GROUP, kinds == POLICY_GUESTS);
	else if (kinds != POLICY_ALL)
		nft_match_local(s->batch, remote_address(s), kinds == POLICY_HOST);
}

static void match_prefix(void *arg, bool source, struct in_addr address, unsigned prefix)
{
	const struct side *s = arg;

	nft_match_prefix(s->batch, source ? NFT_SOURCE_ADDRESS : NFT_TARGET_ADDRESS, address,
			 prefix);
}

static void match_protocol(void *arg, uint8_t protocol)
{
	const struct side *s = arg;

	if (protocol)
		nft_match_protocol(s->batch, protocol);
	else
		nft_match_protocol_in(s->batch, "ported");
}

static void match_ports(void *arg, bool source, const struct policy_ports *ports)
{
	const struct side *s = arg;

	nft_match_ports(s->batch, source ? NFT_SOURCE_PORT : NFT_TARGET_PORT, ports->first,
			ports->last);
}

static void add_line(void *arg, const struct policy_rule *rule, uint8_t kinds)
{
	static const struct rules_fields fields = { match_prefix, match_protocol, match_ports };
	const struct side *s = arg;

	begin_rule(s, kinds);
	if (rule->named)
		nft_match_address_in(s->batch, remote_address(s), s->named);
	rules_match_fields(&fields, arg, s->direction, rule);
	nft_end_rule_goto(s->batch, rule->pass ? NULL : s->block);
}

static void add_map(void *arg, const struct nft_ranges *ranges, uint8_t kinds)
{
	const struct side *s = arg;
	struct nft_map map = nft_add_map(s->batch, ranges, s->block);

	begin_rule(s, kinds);
	nft_end_rule_map(s->batch, remote_address(s), &map);
}

/* The last stage that has rules, or the first. */
static enum policy_stage last_stage(const struct rules_writer *w, const struct policy_rules *rules)
{
	enum policy_stage last = POLICY_HOST_WIDE;

	for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_STAGES; s++)
		if (rules_has_stage(w, rules, s))
			last = s;
	return last;
}

static void name_chain(struct side *s, char letter, int stage, const char *name)
{
	if (stage < 0)
		(void)snprintf(s->chain, sizeof(s->chain), "%c-%s", letter, name);
	else
		(void)snprintf(s->chain, sizeof(s->chain), "%c%d-%s", letter, stage, name);
}

static void jump_to_stage(struct side *s, char letter, enum policy_stage stage, const char *name)
{
	char to[CHAIN_MAX];

	name_chain(s, letter, (int)stage, name);
	memcpy(to, s->chain, sizeof(to));
	name_chain(s, letter, -1, name);
	nft_begin_rule(s->batch, s->chain);
	nft_end_rule_jump(s->batch, to);
}

static void set_side(struct nft_batch *batch, const char *name, enum policy_direction direction,
		     const struct policy *policy)
{
	char letter = direction == POLICY_OUT ? 'o' : 'i';
	struct side s = { .batch = batch, .direction = direction };
	struct rules_writer w = { direction, POLICY_ALL, tells, add_line, add_map, &s };
	enum policy_stage last = last_stage(&w, &policy->rules);

	name_set(s.named, name);
	(void)snprintf(s.block, sizeof(s.block), "%cd-%s", letter, name);
	name_chain(&s, letter, -1, name);
	nft_flush_chain(batch, s.chain);
	for (enum policy_stage stage = POLICY_HOST_WIDE; stage < POLICY_MODE; stage++) {
		name_chain(&s, letter, (int)stage, name);
		nft_flush_chain(batch, s.chain);
		if (stage >= last || !rules_has_stage(&w, &policy->rules, stage))
			continue;
		rules_add_stage(&w, &policy->rules, stage);
		jump_to_stage(&s, letter, stage, name);
	}
	name_chain(&s, letter, -1, name);
	rules_add_stage(&w, &policy->rules, last);
}

void rules_set_policy(struct nft_batch *batch, const char *name, const struct policy *policy)
{
	set_side(batch, name, POLICY_OUT, policy);
	set_side(batch, name, POLICY_IN, policy);
}

static const char sides[] = { 'o', 'i' };

/* Whatever is there: all chains of @side, the guest's own one closed. */
static void add_chains(struct str *text, const char *name, char side)
{
	str_addf(text,
		 "add chain " INET " %1$cd-%2$s\n"
		 "flush chain " INET " %1$cd-%2$s\n"
		 "add rule " INET " %1$cd-%2$s counter drop\n"
		 "add chain " INET " %1$c0-%2$s\n"
		 "add chain " INET " %1$c1-%2$s\n"
		 "add chain " INET " %1$c-%2$s\n"
		 "flush chain " INET " %1$c-%2$s\n"
		 "add rule " INET " %1$c-%2$s goto %1$cd-%2$s\n",
		 side, name);
}

static void delete_chains(struct str *text, const char *name, char side)
{
	str_addf(text,
		 "flush chain " INET " %1$c-%2$s\n"
		 "flush chain " INET " %1$c0-%2$s\n"
		 "flush chain " INET " %1$c1-%2$s\n"
		 "flush chain " INET " %1$cd-%2$s\n"
		 "delete chain " INET " %1$c-%2$s\n"
		 "delete chain " INET " %1$c0-%2$s\n"
		 "delete chain " INET " %1$c1-%2$s\n"
		 "delete chain " INET " %1$cd-%2$s\n",
		 side, name);
}

static void add_dispatch(struct str *text, const char *name)
{
	str_addf(text, "add element " INET " leaving { \"%s\" : goto o-%s }\n", name, name);
	str_addf(text, "add element " INET " entering { \"%s\" : goto i-%s }\n", name, name);
}

void rules_add_policy(struct str *text, const char *name)
{
	str_addf(text, "add set " INET " n-%s { type ipv4_addr; }\n", name);
	str_addf(text, "flush set " INET " n-%s\n", name);
	for (size_t i = 0; i < array_size(sides); i++)
		add_chains(text, name, sides[i]);
	add_dispatch(text, name);
}

void rules_remove_policy(struct str *text, const char *name)
{
	rules_add_policy(text, name);
	str_addf(text, "delete element " INET " leaving { \"%s\" }\n", name);
	str_addf(text, "delete element " INET " entering { \"%s\" }\n", name);
	for (size_t i = 0; i < array_size(sides); i++)
		delete_chains(text, name, sides[i]);
	str_addf(text, "delete set " INET " n-%s\n", name);
}

void rules_add_named(struct nft_batch *batch, const char *name, struct in_addr address)
{
	char set[CHAIN_MAX];

	name_set(set, name);
	nft_add_address(batch, set, address);
}

/* Added first: it may have gone with a filter that was taken away. */
void rules_remove_named(struct nft_batch *batch, const char *name, struct in_addr address)
{
	char set[CHAIN_MAX];

	name_set(set, name);
	nft_add_address(batch, set, address);
	nft_remove_address(batch, set, address);
}
