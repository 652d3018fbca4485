/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A policy as chains of one guest.
 *
 * Each rule becomes a line, but a run of rules that look at nothing but the
 * remote's prefix becomes one lookup in an interval map: prefixes that overlap are cut
 * into disjoint ranges, each with the verdict of the first rule that has it; of the last run
 * of a stage the blocked ones alone, for an element costs nft some microseconds. The
 * maps are anonymous, so they go with the rule. "pass" returns to who jumped here,
 * the next stage; "block" goes to the chain that counts.
 */

#include <arpa/inet.h>
#include <stdlib.h>

#include "net/rules.h"

#define INET "inet linzer"
#define GROUP "19546"

/* Where the text goes, and of which direction it is. */
struct generator {
	struct str *text;
	const char *name; /* of the guest */
	enum policy_direction direction;
	char side; /* 'o', 'i': how its chains begin */
	const char *chain; /* that gets rules now */
};

struct dotted {
	char text[INET_ADDRSTRLEN];
};

static struct dotted dotted(uint32_t address)
{
	struct in_addr network = { htonl(address) };
	struct dotted d = { "0.0.0.0" };

	(void)inet_ntop(AF_INET, &network, d.text, sizeof(d.text));
	return d;
}

static void add_verdict(const struct generator *g, bool pass)
{
	if (pass)
		str_adds(g->text, "return");
	else
		str_addf(g->text, "goto %cd-%s", g->side, g->name);
}

/*
 * How the rules tell one kind of remote. An interface that a packet does not have
 * (to or from the host) matches neither form of a group.
 */
static const char *kind_match(const struct generator *g, uint8_t kinds)
{
	bool out = g->direction == POLICY_OUT;

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

static void add_prefix(const struct generator *g, const char *field, struct in_addr address,
		       unsigned prefix)
{
	if (prefix)
		str_addf(g->text, "ip %s %s/%u ", field, dotted(ntohl(address.s_addr)).text,
			 prefix);
}

static bool has_ports(const struct policy_ports *ports)
{
	return ports->first != 0 || ports->last != UINT16_MAX;
}

static void add_ports(const struct generator *g, const char *field,
		      const struct policy_ports *ports)
{
	if (!has_ports(ports))
		return;
	str_addf(g->text, "th %s %u", field, ports->first);
	/* nft refuses a range of one */
	if (ports->last != ports->first)
		str_addf(g->text, "-%u", ports->last);
	str_adds(g->text, " ");
}

static void add_protocol(const struct generator *g, const struct policy_rule *rule)
{
	if (rule->protocol)
		str_addf(g->text, "meta l4proto %u ", rule->protocol);
	else if (has_ports(&rule->remote_ports) || has_ports(&rule->guest_ports))
		str_adds(g->text, "meta l4proto @ported ");
}

/* The line of @rule for remotes of @kinds. */
static void add_line(const struct generator *g, const struct policy_rule *rule, uint8_t kinds)
{
	bool out = g->direction == POLICY_OUT;

	str_addf(g->text, "add rule " INET " %s %s", g->chain, kind_match(g, kinds));
	if (rule->named)
		str_addf(g->text, "ip %s @n-%s ", out ? "daddr" : "saddr", g->name);
	add_prefix(g, out ? "daddr" : "saddr", rule->remote, rule->remote_prefix);
	add_prefix(g, out ? "saddr" : "daddr", rule->guest, rule->guest_prefix);
	add_protocol(g, rule);
	add_ports(g, out ? "dport" : "sport", &rule->remote_ports);
	add_ports(g, out ? "sport" : "dport", &rule->guest_ports);
	add_verdict(g, rule->pass);
	str_adds(g->text, "\n");
}

static void add_rule(const struct generator *g, const struct policy_rule *rule)
{
	static const uint8_t kinds[] = { POLICY_WORLD, POLICY_HOST, POLICY_GUESTS };

	if (kind_match(g, rule->remotes)) {
		add_line(g, rule, rule->remotes);
		return;
	}
	for (size_t i = 0; i < array_size(kinds); i++)
		if (rule->remotes & kinds[i])
			add_line(g, rule, kinds[i]);
}

/* Does it look at nothing but the remote's prefix? */
static bool is_plain(const struct policy_rule *rule)
{
	return !rule->named && !rule->protocol && !rule->guest_prefix &&
	       !has_ports(&rule->remote_ports) && !has_ports(&rule->guest_ports);
}

/* A prefix of a run: host byte order, inclusive. */
struct span {
	uint32_t first, last;
	size_t rank; /* of its rule: the lowest wins */
	bool pass;
};
DEFINE_VEC(spans, struct span)

static int by_first(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	if (a->last != b->last)
		return a->last > b->last ? -1 : 1; /* the wider one holds the other */
	return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static void add_range(struct spans *ranges, uint32_t first, uint32_t last, bool pass)
{
	struct span *before = ranges->len ? &ranges->items[ranges->len - 1] : NULL;

	if (before && before->pass == pass && before->last + 1 == first)
		before->last = last;
	else
		spans_add(ranges, (struct span){ .first = first, .last = last, .pass = pass });
}

/*
 * Prefixes either hold one another or are apart. So those that hold the
 * address where the sweep stands are a stack, and the best of them, kept
 * with each, decides.
 */
struct sweep {
	struct spans stack; /* rank and pass: the best of it and those beneath */
	struct spans *ranges;
	uint64_t at; /* up to here the ranges are told */
};

static void tell(struct sweep *s, uint64_t end)
{
	if (s->stack.len && s->at < end) {
		const struct span *top = &s->stack.items[s->stack.len - 1];

		add_range(s->ranges, (uint32_t)s->at, (uint32_t)(end - 1), top->pass);
	}
	if (s->at < end)
		s->at = end;
}

static void leave(struct sweep *s, uint64_t next)
{
	while (s->stack.len && s->stack.items[s->stack.len - 1].last < next) {
		tell(s, (uint64_t)s->stack.items[s->stack.len - 1].last + 1);
		s->stack.len--;
	}
}

static void enter(struct sweep *s, struct span span)
{
	const struct span *below = s->stack.len ? &s->stack.items[s->stack.len - 1] : NULL;

	tell(s, span.first);
	if (below && below->rank < span.rank) {
		span.rank = below->rank;
		span.pass = below->pass;
	}
	spans_add(&s->stack, span);
}

/* Disjoint ranges with the verdicts of the first rule that holds them. */
static void flatten(struct spans *prefixes, struct spans *ranges)
{
	struct sweep s = { .stack = VEC_INIT, .ranges = ranges };

	qsort(prefixes->items, prefixes->len, sizeof(prefixes->items[0]), by_first);
	for (size_t i = 0; i < prefixes->len; i++) {
		leave(&s, prefixes->items[i].first);
		enter(&s, prefixes->items[i]);
	}
	leave(&s, UINT64_MAX);
	spans_release(&s.stack);
}

static struct span span_of(const struct policy_rule *rule, size_t rank)
{
	uint32_t first = ntohl(rule->remote.s_addr);
	uint32_t rest =
		rule->remote_prefix ? UINT32_MAX >> (rule->remote_prefix - 1) >> 1 : UINT32_MAX;

	return (struct span){ first, first | rest, rank, rule->pass };
}

static void add_map(const struct generator *g, const struct spans *ranges, uint8_t kinds)
{
	str_addf(g->text, "add rule " INET " %s %s", g->chain, kind_match(g, kinds));
	if (ranges->len == 1 && ranges->items[0].first == 0 &&
	    ranges->items[0].last == UINT32_MAX) {
		add_verdict(g, ranges->items[0].pass);
		str_adds(g->text, "\n");
		return;
	}
	str_addf(g->text, "ip %s vmap { ", g->direction == POLICY_OUT ? "daddr" : "saddr");
	for (size_t i = 0; i < ranges->len; i++) {
		const struct span *r = &ranges->items[i];

		str_addf(g->text, "%s%s", i ? ", " : "", dotted(r->first).text);
		if (r->last != r->first)
			str_addf(g->text, "-%s", dotted(r->last).text);
		str_adds(g->text, " : ");
		add_verdict(g, r->pass);
	}
	str_adds(g->text, " }\n");
}

static bool is_of(const struct generator *g, const struct policy_rule *rule,
		  enum policy_stage stage)
{
	return rule->stage == stage && (rule->directions & g->direction);
}

/* Behind it no rule of the stage is left to be kept from a flow: passing it is as good as no word.
 */
static void drop_passed(struct spans *ranges)
{
	size_t kept = 0;

	for (size_t i = 0; i < ranges->len; i++)
		if (!ranges->items[i].pass)
			ranges->items[kept++] = ranges->items[i];
	ranges->len = kept;
}

/* One rule, or the run of plain ones that begins with it. Return: the rules that are done. */
static size_t add_next(const struct generator *g, const struct policy_rules *rules, size_t at)
{
	cleanup_(spans_release) struct spans prefixes = VEC_INIT, ranges = VEC_INIT;
	const struct policy_rule *first = &rules->items[at];
	size_t i = at, last = at;

	if (!is_plain(first) || !kind_match(g, first->remotes)) {
		add_rule(g, first);
		return 1;
	}
	for (; i < rules->len && rules->items[i].stage == first->stage; i++) {
		const struct policy_rule *rule = &rules->items[i];

		if (!(rule->directions & g->direction))
			continue;
		if (!is_plain(rule) || rule->remotes != first->remotes)
			break;
		spans_add(&prefixes, span_of(rule, i));
		last = i;
	}
	if (prefixes.len == 1) {
		add_rule(g, first);
		return 1;
	}
	flatten(&prefixes, &ranges);
	if (i == rules->len || rules->items[i].stage != first->stage)
		drop_passed(&ranges);
	if (ranges.len)
		add_map(g, &ranges, first->remotes);
	return last - at + 1;
}

static void add_stage(const struct generator *g, const struct policy_rules *rules,
		      enum policy_stage stage)
{
	for (size_t i = 0; i < rules->len;)
		i += is_of(g, &rules->items[i], stage) ? add_next(g, rules, i) : 1;
}

static bool has_stage(const struct generator *g, const struct policy_rules *rules,
		      enum policy_stage stage)
{
	for (size_t i = 0; i < rules->len; i++)
		if (is_of(g, &rules->items[i], stage))
			return true;
	return false;
}

/* The last stage that has rules, or 0. */
static enum policy_stage last_stage(const struct generator *g, const struct policy_rules *rules)
{
	enum policy_stage last = POLICY_HOST_WIDE;

	for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_STAGES; s++)
		if (has_stage(g, rules, s))
			last = s;
	return last;
}

/* The last stage stands in the guest's chain itself, the others in one of their own before it. */
static void add_direction(struct generator *g, const struct policy *policy)
{
	auto_free char *entry = str_format("%c-%s", g->side, g->name);
	enum policy_stage last = last_stage(g, &policy->rules);

	for (enum policy_stage s = POLICY_HOST_WIDE; s < last; s++) {
		auto_free char *chain = str_format("%c%u-%s", g->side, s, g->name);

		if (!has_stage(g, &policy->rules, s))
			continue;
		str_addf(g->text, "add chain " INET " %s\n", chain);
		g->chain = chain;
		add_stage(g, &policy->rules, s);
		str_addf(g->text, "add rule " INET " %s jump %s\n", entry, chain);
	}
	g->chain = entry;
	add_stage(g, &policy->rules, last);
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
	struct generator g = { .text = text, .name = name, .direction = direction, .side = side };

	clear_side(text, name, side);
	add_direction(&g, policy);
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
	str_addf(text, "add element " INET " n-%s { %s }\n", name,
		 dotted(ntohl(address.s_addr)).text);
}

/* Added first: it may have gone with a filter that was taken away. */
void rules_remove_named(struct str *text, const char *name, struct in_addr address)
{
	rules_add_named(text, name, address);
	str_addf(text, "delete element " INET " n-%s { %s }\n", name,
		 dotted(ntohl(address.s_addr)).text);
}
