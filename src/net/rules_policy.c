/* SPDX-License-Identifier: Apache-2.0 */

/* A policy as chains of one guest with a routed card. */

#include <arpa/inet.h>

#include "net/prefix.h"
#include "net/rules.h"
#include "net/rules_stage.h"

#define INET "inet linzer"
#define GROUP "19546"

/*
 * How the rules tell one kind of remote. An interface that a packet does not have
 * (to or from the host) matches neither form of a group.
 */
static const char *match_kinds(enum policy_direction direction, uint8_t kinds)
{
	bool out = direction == POLICY_OUT;

	switch (kinds) {
	case POLICY_ALL:
		return "";
	case POLICY_WORLD:
		return out ? "oifgroup != " GROUP " " : "iifgroup != " GROUP " ";
	case POLICY_GUESTS:
		return out ? "oifgroup " GROUP " " : "iifgroup " GROUP " ";
	case POLICY_HOST:
		return out ? "fib daddr type local " : "fib saddr type local ";
	case POLICY_WORLD | POLICY_GUESTS:
		return out ? "fib daddr type != local " : "fib saddr type != local ";
	default: /* one line each */
		return NULL;
	}
}

/* The last stage that has rules, or 0. */
static enum policy_stage last_stage(const struct rules_words *words,
				    const struct policy_rules *rules)
{
	enum policy_stage last = POLICY_HOST_WIDE;

	for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_STAGES; s++)
		if (rules_has_stage(words, rules, s))
			last = s;
	return last;
}

/* The last stage stands in the guest's chain itself, the others in one of their own before it. */
static void add_direction(struct str *text, const struct rules_words *words, const char *name,
			  char side, const struct policy_rules *rules)
{
	auto_free char *entry = str_format("%c-%s", side, name);
	enum policy_stage last = last_stage(words, rules);

	for (enum policy_stage s = POLICY_HOST_WIDE; s < last; s++) {
		auto_free char *chain = str_format("%c%u-%s", side, s, name);

		if (!rules_has_stage(words, rules, s))
			continue;
		str_addf(text, "add chain " INET " %s\n", chain);
		rules_add_stage(text, words, chain, rules, s);
		str_addf(text, "add rule " INET " %s jump %s\n", entry, chain);
	}
	rules_add_stage(text, words, entry, rules, last);
}

/* The chains of @side, empty; those of single stages gone; whatever was there. */
static void clear_side(struct str *text, const char *name, char side)
{
	str_addf(text, "add chain " INET " %c-%s\n", side, name);
	str_addf(text, "flush chain " INET " %c-%s\n", side, name);
	for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_MODE; s++) {
		str_addf(text, "add chain " INET " %c%u-%s\n", side, s, name);
		str_addf(text, "flush chain " INET " %c%u-%s\n", side, s, name);
		str_addf(text, "delete chain " INET " %c%u-%s\n", side, s, name);
	}
}

static void set_side(struct str *text, const char *name, char side, enum policy_direction direction,
		     const struct policy *policy)
{
	auto_free char *block = str_format("%cd-%s", side, name);
	auto_free char *named = str_format("n-%s", name);
	const struct rules_words words = {
		.table = INET,
		.direction = direction,
		.kinds = POLICY_ALL,
		.match = match_kinds,
		.block = block,
		.named = named,
	};

	clear_side(text, name, side);
	add_direction(text, &words, name, side, &policy->rules);
}

void rules_set_policy(struct str *text, const char *name, const struct policy *policy)
{
	set_side(text, name, 'o', POLICY_OUT, policy);
	set_side(text, name, 'i', POLICY_IN, policy);
}

static void add_dispatch(struct str *text, const char *name)
{
	str_addf(text, "add element " INET " out { \"%s\" : jump o-%s }\n", name, name);
	str_addf(text, "add element " INET " in { \"%s\" : jump i-%s }\n", name, name);
}

static void add_counting(struct str *text, const char *name, char side)
{
	str_addf(text, "add chain " INET " %cd-%s\n", side, name);
	str_addf(text, "flush chain " INET " %cd-%s\n", side, name);
	str_addf(text, "add rule " INET " %cd-%s counter drop\n", side, name);
}

void rules_add_policy(struct str *text, const char *name, const struct policy *policy)
{
	str_addf(text, "add set " INET " n-%s { type ipv4_addr; }\n", name);
	add_counting(text, name, 'o');
	add_counting(text, name, 'i');
	rules_set_policy(text, name, policy);
	add_dispatch(text, name);
}

void rules_remove_policy(struct str *text, const char *name)
{
	static const char sides[] = { 'o', 'i' };

	for (size_t i = 0; i < array_size(sides); i++) {
		clear_side(text, name, sides[i]);
		add_counting(text, name, sides[i]);
	}
	add_dispatch(text, name);
	str_addf(text, "delete element " INET " out { \"%s\" }\n", name);
	str_addf(text, "delete element " INET " in { \"%s\" }\n", name);
	for (size_t i = 0; i < array_size(sides); i++) {
		str_addf(text, "flush chain " INET " %cd-%s\n", sides[i], name);
		str_addf(text, "delete chain " INET " %c-%s\n", sides[i], name);
		str_addf(text, "delete chain " INET " %cd-%s\n", sides[i], name);
	}
	str_addf(text, "add set " INET " n-%s { type ipv4_addr; }\n", name);
	str_addf(text, "delete set " INET " n-%s\n", name);
}

void rules_add_named(struct str *text, const char *name, struct in_addr address)
{
	str_addf(text, "add element " INET " n-%s { %s }\n", name, dotted(address).text);
}

/* Added first: it may have gone with a filter that was taken away. */
void rules_remove_named(struct str *text, const char *name, struct in_addr address)
{
	rules_add_named(text, name, address);
	str_addf(text, "delete element " INET " n-%s { %s }\n", name, dotted(address).text);
}
