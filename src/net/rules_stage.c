/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rules_stage.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum { COMPARED_MAX = 1 << 20 }; /* ranges with rules: more costs more than the elements */

static bool are_some(const struct policy_ports *ports)
{
	return ports->first != 0 || ports->last != UINT16_MAX;
}

bool rules_has_ports(const struct policy_rule *rule)
{
	return are_some(&rule->remote_ports) || are_some(&rule->guest_ports);
}

void rules_match_fields(const struct rules_fields *fields, void *arg,
			enum policy_direction direction, const struct policy_rule *rule)
{
	bool guest_sends = direction == POLICY_OUT;

	if (rule->remote_prefix)
		fields->prefix(arg, !guest_sends, rule->remote, rule->remote_prefix);
	if (rule->guest_prefix)
		fields->prefix(arg, guest_sends, rule->guest, rule->guest_prefix);
	if (rule->protocol || rules_has_ports(rule))
		fields->protocol(arg, rule->protocol);
	if (are_some(&rule->remote_ports))
		fields->ports(arg, !guest_sends, &rule->remote_ports);
	if (are_some(&rule->guest_ports))
		fields->ports(arg, guest_sends, &rule->guest_ports);
}

/* What of the rule's remotes can be told apart. */
static uint8_t kinds_of(const struct rules_writer *w, const struct policy_rule *rule)
{
	return rule->remotes & w->kinds;
}

static void add_rule(const struct rules_writer *w, const struct policy_rule *rule)
{
	static const uint8_t kinds[] = { POLICY_WORLD, POLICY_HOST, POLICY_GUESTS };
	uint8_t all = kinds_of(w, rule);

	if (w->tells(all)) {
		w->add_line(w->arg, rule, all);
		return;
	}
	for (size_t i = 0; i < array_size(kinds); i++)
		if (all & kinds[i])
			w->add_line(w->arg, rule, kinds[i]);
}

/* Does it look at nothing but the remote's prefix? */
static bool is_plain(const struct policy_rule *rule)
{
	return !rule->named && !rule->protocol && !rule->guest_prefix && !rules_has_ports(rule);
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

static void add_range(struct nft_ranges *ranges, uint32_t first, uint32_t last, bool pass)
{
	if (ranges->len) {
		struct nft_range *before = &ranges->items[ranges->len - 1];

		if (before->pass == pass && before->last + 1 == first) {
			before->last = last;
			return;
		}
	}
	nft_ranges_add(ranges, (struct nft_range){ first, last, pass });
}

/*
 * Prefixes either hold one another or are apart. So those that hold the
 * address where the sweep stands are a stack, and the best of them, kept
 * with each, decides.
 */
struct sweep {
	struct spans stack; /* rank and pass: the best of it and those beneath */
	struct nft_ranges *ranges;
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
static void flatten(struct spans *prefixes, struct nft_ranges *ranges)
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

static void add_map(const struct rules_writer *w, const struct nft_ranges *ranges, uint8_t kinds)
{
	struct policy_rule all = POLICY_RULE_INIT;

	if (ranges->len != 1 || ranges->items[0].first != 0 ||
	    ranges->items[0].last != UINT32_MAX) {
		w->add_map(w->arg, ranges, kinds);
		return;
	}
	all.pass = ranges->items[0].pass;
	w->add_line(w->arg, &all, kinds);
}

static bool matters(const struct rules_writer *w, const struct policy_rule *rule)
{
	return (rule->directions & (unsigned)w->direction) && (rule->remotes & w->kinds);
}

/* May a rule of the stage that comes later, from @at on, block some of the range? */
static bool is_blocked_later(const struct rules_writer *w, const struct policy_rules *rules,
			     size_t at, enum policy_stage stage, const struct nft_range *range)
{
	for (; at < rules->len && rules->items[at].stage == stage; at++) {
		const struct policy_rule *rule = &rules->items[at];
		struct span span = span_of(rule, at);

		if (!rule->pass && matters(w, rule) && span.first <= range->last &&
		    span.last >= range->first)
			return true;
	}
	return false;
}

/* Passing what no later rule is to be kept from is as good as no word. */
static void drop_passed(const struct rules_writer *w, const struct policy_rules *rules, size_t at,
			enum policy_stage stage, struct nft_ranges *ranges)
{
	size_t kept = 0;

	if (ranges->len * (rules->len - at) > COMPARED_MAX)
		return;
	for (size_t i = 0; i < ranges->len; i++) {
		const struct nft_range *range = &ranges->items[i];

		if (!range->pass || is_blocked_later(w, rules, at, stage, range))
			ranges->items[kept++] = *range;
	}
	ranges->len = kept;
}

/* One rule, or the run of plain ones that begins with it. Return: the rules that are done. */
static size_t add_next(const struct rules_writer *w, const struct policy_rules *rules, size_t at)
{
	cleanup_(spans_release) struct spans prefixes = VEC_INIT;
	cleanup_(nft_ranges_release) struct nft_ranges ranges = VEC_INIT;
	const struct policy_rule *first = &rules->items[at];
	size_t i = at, last = at;

	if (!is_plain(first) || !w->tells(kinds_of(w, first))) {
		add_rule(w, first);
		return 1;
	}
	for (; i < rules->len && rules->items[i].stage == first->stage; i++) {
		const struct policy_rule *rule = &rules->items[i];

		if (!matters(w, rule))
			continue;
		if (!is_plain(rule) || kinds_of(w, rule) != kinds_of(w, first))
			break;
		spans_add(&prefixes, span_of(rule, i));
		last = i;
	}
	if (prefixes.len == 1) {
		add_rule(w, first);
		return 1;
	}
	flatten(&prefixes, &ranges);
	drop_passed(w, rules, i, first->stage, &ranges);
	if (ranges.len)
		add_map(w, &ranges, kinds_of(w, first));
	return last - at + 1;
}

static bool is_of(const struct rules_writer *w, const struct policy_rule *rule,
		  enum policy_stage stage)
{
	return rule->stage == stage && matters(w, rule);
}

void rules_add_stage(const struct rules_writer *w, const struct policy_rules *rules,
		     enum policy_stage stage)
{
	for (size_t i = 0; i < rules->len;)
		i += is_of(w, &rules->items[i], stage) ? add_next(w, rules, i) : 1;
}

bool rules_has_stage(const struct rules_writer *w, const struct policy_rules *rules,
		     enum policy_stage stage)
{
	for (size_t i = 0; i < rules->len; i++)
		if (is_of(w, &rules->items[i], stage))
			return true;
	return false;
}
