/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rules_words.h"
#include "net/prefix.h"

#include <arpa/inet.h>

static void add_verdict(const struct rules_words *w, bool pass)
{
	if (pass)
		str_adds(w->text, "return");
	else
		str_addf(w->text, "goto %s", w->block);
}

static bool is_out(const struct rules_words *w)
{
	return w->direction == POLICY_OUT;
}

/* Other guests are machines of the LAN as any other. */
static bool tells(uint8_t kinds)
{
	(void)kinds;
	return true;
}

static const char *match_kinds(const struct rules_words *w, uint8_t kinds)
{
	if (kinds == (POLICY_WORLD | POLICY_HOST))
		return "";
	if (is_out(w))
		return kinds == POLICY_HOST ? "fib daddr type local " : "fib daddr type != local ";
	return kinds == POLICY_HOST ? "fib saddr type local " : "fib saddr type != local ";
}

static void begin_line(const struct rules_words *w, uint8_t kinds)
{
	str_addf(w->text, "add rule netdev %s %s %s", w->table, w->chain, match_kinds(w, kinds));
}

static void add_prefix(void *arg, bool source, struct in_addr address, unsigned prefix)
{
	const struct rules_words *w = arg;

	str_addf(w->text, "ip %s %s/%u ", source ? "saddr" : "daddr", dotted(address).text, prefix);
}

static void add_protocol(void *arg, uint8_t protocol)
{
	const struct rules_words *w = arg;

	if (protocol)
		str_addf(w->text, "meta l4proto %u ", protocol);
	else
		str_adds(w->text, "meta l4proto @ported ");
}

static void add_ports(void *arg, bool source, const struct policy_ports *ports)
{
	const struct rules_words *w = arg;

	str_addf(w->text, "th %s %u", source ? "sport" : "dport", ports->first);
	/* nft refuses a range of one */
	if (ports->last != ports->first)
		str_addf(w->text, "-%u", ports->last);
	str_adds(w->text, " ");
}

/* Of a name there is no rule (bridged_policy.c). */
static void add_line(void *arg, const struct policy_rule *rule, uint8_t kinds)
{
	static const struct rules_fields fields = { add_prefix, add_protocol, add_ports };
	const struct rules_words *w = arg;

	begin_line(w, kinds);
	rules_match_fields(&fields, arg, w->direction, rule);
	add_verdict(w, rule->pass);
	str_adds(w->text, "\n");
}

static void add_map(void *arg, const struct nft_ranges *ranges, uint8_t kinds)
{
	const struct rules_words *w = arg;

	begin_line(w, kinds);
	str_addf(w->text, "ip %s vmap { ", is_out(w) ? "daddr" : "saddr");
	for (size_t i = 0; i < ranges->len; i++) {
		const struct nft_range *r = &ranges->items[i];

		str_addf(w->text, "%s%s", i ? ", " : "",
			 dotted((struct in_addr){ htonl(r->first) }).text);
		if (r->last != r->first)
			str_addf(w->text, "-%s", dotted((struct in_addr){ htonl(r->last) }).text);
		str_adds(w->text, " : ");
		add_verdict(w, r->pass);
	}
	str_adds(w->text, " }\n");
}

struct rules_writer rules_words_writer(struct rules_words *words)
{
	return (struct rules_writer){
		.direction = words->direction,
		.kinds = POLICY_WORLD | POLICY_HOST,
		.tells = tells,
		.add_line = add_line,
		.add_map = add_map,
		.arg = words,
	};
}
