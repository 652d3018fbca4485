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

static void add_prefix(const struct rules_words *w, const char *field, struct in_addr address,
		       unsigned prefix)
{
	if (prefix)
		str_addf(w->text, "ip %s %s/%u ", field, dotted(address).text, prefix);
}

static void add_ports(const struct rules_words *w, const char *field,
		      const struct policy_ports *ports)
{
	if (!rules_are_ports(ports))
		return;
	str_addf(w->text, "th %s %u", field, ports->first);
	/* nft refuses a range of one */
	if (ports->last != ports->first)
		str_addf(w->text, "-%u", ports->last);
	str_adds(w->text, " ");
}

static void add_protocol(const struct rules_words *w, const struct policy_rule *rule)
{
	if (rule->protocol)
		str_addf(w->text, "meta l4proto %u ", rule->protocol);
	else if (rules_has_ports(rule))
		str_adds(w->text, "meta l4proto @ported ");
}

static void add_line(void *arg, const struct policy_rule *rule, uint8_t kinds)
{
	const struct rules_words *w = arg;
	bool out = is_out(w);

	begin_line(w, kinds);
	add_prefix(w, out ? "daddr" : "saddr", rule->remote, rule->remote_prefix);
	add_prefix(w, out ? "saddr" : "daddr", rule->guest, rule->guest_prefix);
	add_protocol(w, rule);
	add_ports(w, out ? "dport" : "sport", &rule->remote_ports);
	add_ports(w, out ? "sport" : "dport", &rule->guest_ports);
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
