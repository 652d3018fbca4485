/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rules_stage.h"
#include "net/prefix.h"

#include <arpa/inet.h>
#include <stdlib.h>

/* Where the lines go. */
struct generator {
	struct str *text;
	const struct rules_words *words;
	const char *chain;
};

static void add_verdict(const struct generator *g, bool pass)
{
	if (pass)
		str_adds(g->text, "return");
	else
		str_addf(g->text, "goto %s", g->words->block);
}

/* The beginning of a line about remotes of @kinds. */
static void begin_line(const struct generator *g, uint8_t kinds)
{
	str_addf(g->text, "add rule %s %s %s", g->words->table, g->chain,
		 g->words->match(g->words->direction, kinds));
}

/* What of the rule's remotes can be told apart. */
static uint8_t kinds_of(const struct generator *g, const struct policy_rule *rule)
{
	return rule->remotes & g->words->kinds;
}

static bool is_out(const struct generator *g)
{
	return g->words->direction == POLICY_OUT;
}

static void add_prefix(const struct generator *g, const char *field, struct in_addr address,
		       unsigned prefix)
{
	if (prefix)
		str_addf(g->text, "ip %s %s/%u ", field, dotted(address).text, prefix);
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

bool rules_has_ports(const struct policy_rule *rule)
{
	return has_ports(&rule->remote_ports) || has_ports(&rule->guest_ports);
}

static void add_protocol(const struct generator *g, const struct policy_rule *rule)
{
	if (rule->protocol)
		str_addf(g->text, "meta l4proto %u ", rule->protocol);
	else if (rules_has_ports(rule))
		str_adds(g->text, "meta l4proto @ported ");
}

/* The line of @rule for remotes of @kinds. */
static void add_line(const struct generator *g, const struct policy_rule *rule, uint8_t kinds)
{
	bool out = is_out(g);

	begin_line(g, kinds);
	if (rule->named)
		str_addf(g->text, "ip %s @%s ", out ? "daddr" : "saddr", g->words->named);
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
	uint8_t all = kinds_of(g, rule);

	if (g->words->match(g->words->direction, all)) {
		add_line(g, rule, all);
		return;
	}
	for (size_t i = 0; i < array_size(kinds); i++)
		if (all & kinds[i])
			add_line(g, rule, kinds[i]);
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

static void add_range(struct spans *ranges, uint32_t first, uint32_t last, bool pass)
{
	if (ranges->len) {
		struct span *before = &ranges->items[ranges->len - 1];

		if (before->pass == pass && before->last + 1 == first) {
			before->last = last;
			return;
		}
	}
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
	begin_line(g, kinds);
	if (ranges->len == 1 && ranges->items[0].first == 0 &&
	    ranges->items[0].last == UINT32_MAX) {
		add_verdict(g, ranges->items[0].pass);
		str_adds(g->text, "\n");
		return;
	}
	str_addf(g->text, "ip %s vmap { ", is_out(g) ? "daddr" : "saddr");
	for (size_t i = 0; i < ranges->len; i++) {
		const struct span *r = &ranges->items[i];

		str_addf(g->text, "%s%s", i ? ", " : "",
			 dotted((struct in_addr){ htonl(r->first) }).text);
		if (r->last != r->first)
			str_addf(g->text, "-%s", dotted((struct in_addr){ htonl(r->last) }).text);
		str_adds(g->text, " : ");
		add_verdict(g, r->pass);
	}
	str_adds(g->text, " }\n");
}

static bool matters(const struct rules_words *words, const struct policy_rule *rule)
{
	return (rule->directions & (unsigned)words->direction) && (rule->remotes & words->kinds);
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

	if (!is_plain(first) || !g->words->match(g->words->direction, kinds_of(g, first))) {
		add_rule(g, first);
		return 1;
	}
	for (; i < rules->len && rules->items[i].stage == first->stage; i++) {
		const struct policy_rule *rule = &rules->items[i];

		if (!matters(g->words, rule))
			continue;
		if (!is_plain(rule) || kinds_of(g, rule) != kinds_of(g, first))
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
		add_map(g, &ranges, kinds_of(g, first));
	return last - at + 1;
}

static bool is_of(const struct rules_words *words, const struct policy_rule *rule,
		  enum policy_stage stage)
{
	return rule->stage == stage && matters(words, rule);
}

void rules_add_stage(struct str *text, const struct rules_words *words, const char *chain,
		     const struct policy_rules *rules, enum policy_stage stage)
{
	const struct generator g = { text, words, chain };

	for (size_t i = 0; i < rules->len;)
		i += is_of(words, &rules->items[i], stage) ? add_next(&g, rules, i) : 1;
}

bool rules_has_stage(const struct rules_words *words, const struct policy_rules *rules,
		     enum policy_stage stage)
{
	for (size_t i = 0; i < rules->len; i++)
		if (is_of(words, &rules->items[i], stage))
			return true;
	return false;
}
