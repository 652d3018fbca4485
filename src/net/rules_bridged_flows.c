/* SPDX-License-Identifier: Apache-2.0 */

/* The flows of a bridged card: its policy, and the chains by which packets find theirs. */

#include <arpa/inet.h>
#include <stdio.h>

#include "base/attr.h"
#include "net/prefix.h"
#include "net/rules_bridged.h"
#include "net/rules_words.h"

/* The words by which the two directions of packets differ. */
struct way {
	enum policy_direction direction;
	const char *name, *other;
	const char *remote; /* address */
	const char *key; /* of the packet's flow */
	const char *pass;
};

static const struct way ways[] = {
	{ POLICY_OUT, "out", "in", "daddr", "ip daddr . meta l4proto . th sport . th dport",
	  "goto leave" },
	{ POLICY_IN, "in", "out", "saddr", "ip saddr . meta l4proto . th dport . th sport",
	  "accept" },
};

/* A packet of a flow that the same end opened; and of one that the other end opened. */
static const char known_flows[] =
	"table netdev %1$s {\n"
	"	chain mine_%2$s {\n"
	"		meta l4proto udp update @flows_%2$s { %4$s } %5$s\n"
	"		tcp flags & (fin|rst) != 0 update @flows_%2$s { %4$s timeout 2m } %5$s\n"
	"		%5$s\n"
	"	}\n"
	"	chain answer_%2$s {\n"
	"		meta l4proto udp update @flows_%3$s { %4$s } %5$s\n"
	"		tcp flags & (syn|ack) == syn counter name %2$s drop\n"
	"		tcp flags & (fin|rst) != 0 update @flows_%3$s { %4$s timeout 2m } %5$s\n"
	"		tcp flags & (syn|psh) != 0 update @flows_%3$s { %4$s timeout 5d } %5$s\n"
	"		ip length > 80 update @flows_%3$s { %4$s timeout 5d } %5$s\n"
	"		%5$s\n"
	"	}\n"
	"}\n";

void rules_add_known_flows(struct str *text, const struct rules_card *card)
{
	for (size_t i = 0; i < array_size(ways); i++)
		str_addf(text, known_flows, card->name, ways[i].name, ways[i].other, ways[i].key,
			 ways[i].pass);
}

/* What a policy says of one direction. */
struct tally {
	bool stages[POLICY_STAGES]; /* which have rules */
	bool any, ports;
};

static struct tally tally(const struct policy *policy, const struct rules_writer *writer)
{
	struct tally t = { 0 };

	for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_STAGES; s++)
		t.any |= t.stages[s] = rules_has_stage(writer, &policy->rules, s);
	for (size_t i = 0; i < policy->rules.len; i++)
		if (policy->rules.items[i].directions & (unsigned)writer->direction)
			t.ports |= rules_has_ports(&policy->rules.items[i]);
	return t;
}

static void add_jumps(struct str *text, const struct way *way, const struct tally *t)
{
	for (unsigned i = 0; i < array_size(t->stages); i++)
		if (t->stages[i])
			str_addf(text, "		jump rules_%s_%u\n", way->name, i);
}

/* Fragments but the first have no ports: judged by address each, or not at all. */
static void add_rest(struct str *text, const struct rules_card *card, const struct way *way,
		     const struct tally *t)
{
	str_addf(text, "table netdev %s {\n	chain rest_%s {\n", card->name, way->name);
	if (t->ports)
		str_addf(text, "		counter name %s drop\n", way->name);
	else
		add_jumps(text, way, t);
	str_addf(text, "		%s\n	}\n}\n", way->pass);
}

/* %2 way, %3 other way, %4 key, %5 pass, %6 the word for the remote's address. */
static const char flow_begin[] =
	"table netdev %1$s {\n"
	"	chain flow_%2$s {\n"
	"		ip frag-off & 0x1fff != 0 goto rest_%2$s\n"
	"		%4$s @flows_%2$s goto mine_%2$s\n"
	"		%4$s @flows_%3$s goto answer_%2$s\n"
	"		icmp type echo-reply ip %6$s . icmp id @pings_%3$s %5$s\n";

/* %1 what else passes, %2 way, %3 key, %4 pass, %5 the word for the remote's address. */
static const char flow_end[] =
	"		tcp flags & (fin|syn|rst|ack) == syn update @flows_%2$s "
	"{ %3$s timeout 2m } %4$s\n"
	"		meta l4proto udp update @flows_%2$s { %3$s } %4$s\n"
	"		icmp type echo-request update @pings_%2$s { ip %5$s . icmp id } %4$s\n"
	"		meta l4proto != { tcp, udp, icmp } %4$s\n"
	"%1$s"
	"		counter name %2$s drop\n"
	"	}\n"
	"}\n";

#define ERRORS "icmp type { destination-unreachable, time-exceeded, parameter-problem } "

static void add_flow(struct str *text, const struct rules_card *card, const struct way *w,
		     const struct tally *t)
{
	bool out = w->direction == POLICY_OUT;

	str_addf(text, flow_begin, card->name, w->name, w->other, w->key, w->pass, w->remote);
	/* of the guest's own packets; the guest's are judged as if they opened something */
	if (!out)
		str_adds(text, "		" ERRORS "goto gate_error\n");
	add_jumps(text, w, t);
	str_addf(text, flow_end, out ? "		" ERRORS "goto leave\n" : "", w->name,
		 w->key, w->pass, w->remote);
}

/* No rules: who opens TCP flows is written down, nothing is dropped. */
static const char flow_without_rules[] =
	"table netdev %1$s {\n"
	"	chain flow_%2$s {\n"
	"		meta l4proto != tcp %5$s\n"
	"		tcp flags & (fin|syn|rst) == 0 %5$s\n"
	"		tcp flags & (fin|syn|rst|ack) == syn update @flows_%2$s "
	"{ %4$s timeout 2m } %5$s\n"
	"		%4$s @flows_%2$s goto mine_%2$s\n"
	"		%4$s @flows_%3$s goto answer_%2$s\n"
	"		%5$s\n"
	"	}\n"
	"}\n";

static void flush_policy(struct str *text, const struct rules_card *card)
{
	for (size_t w = 0; w < array_size(ways); w++) {
		str_addf(text, "flush chain netdev %s flow_%s\n", card->name, ways[w].name);
		str_addf(text, "flush chain netdev %s rest_%s\n", card->name, ways[w].name);
		for (unsigned i = 0; i < POLICY_STAGES; i++)
			str_addf(text, "flush chain netdev %s rules_%s_%u\n", card->name,
				 ways[w].name, i);
	}
}

static void add_stages(struct rules_words *words, const struct way *way,
		       const struct policy *policy)
{
	for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_STAGES; s++) {
		auto_free char *chain = str_format("rules_%s_%u", way->name, s);
		struct rules_writer writer = rules_words_writer(words);

		words->chain = chain;
		rules_add_stage(&writer, &policy->rules, s);
	}
}

static struct rules_words words_of(struct str *text, const struct rules_card *card,
				   const struct way *way)
{
	return (struct rules_words){
		.text = text,
		.table = card->name,
		.block = way->direction == POLICY_OUT ? "drop_out" : "drop_in",
		.direction = way->direction,
	};
}

void rules_set_card_policy(struct str *text, const struct rules_card *card,
			   const struct policy *policy)
{
	struct rules_words words[] = { words_of(text, card, &ways[0]),
				       words_of(text, card, &ways[1]) };
	struct rules_writer writers[] = { rules_words_writer(&words[0]),
					  rules_words_writer(&words[1]) };
	struct tally tallies[] = { tally(policy, &writers[0]), tally(policy, &writers[1]) };
	bool any = tallies[0].any || tallies[1].any;

	flush_policy(text, card);
	for (size_t i = 0; i < array_size(ways); i++) {
		const struct way *w = &ways[i];

		if (!any) {
			str_addf(text, flow_without_rules, card->name, w->name, w->other, w->key,
				 w->pass);
			continue;
		}
		add_stages(&words[i], w, policy);
		add_rest(text, card, w, &tallies[i]);
		add_flow(text, card, w, &tallies[i]);
	}
}

void rules_forget_flows(struct str *text, const struct rules_card *card)
{
	for (size_t i = 0; i < array_size(ways); i++) {
		str_addf(text, "flush set netdev %s flows_%s\n", card->name, ways[i].name);
		str_addf(text, "flush set netdev %s pings_%s\n", card->name, ways[i].name);
	}
}

const char *rules_flow_set(enum policy_direction direction)
{
	return direction == POLICY_OUT ? "flows_out" : "flows_in";
}

const char *rules_ping_set(enum policy_direction direction)
{
	return direction == POLICY_OUT ? "pings_out" : "pings_in";
}

static void add_key(struct str *text, const struct rules_flow *f)
{
	if (f->protocol == IPPROTO_ICMP)
		str_addf(text, "%s . %u", dotted(f->remote).text, f->guest_port);
	else
		str_addf(text, "%s . %u . %u . %u", dotted(f->remote).text, f->protocol,
			 f->guest_port, f->remote_port);
}

/* Those of one set. */
static void cut_set(struct str *text, const char *table, const char *set, bool pings,
		    enum policy_direction direction, const struct rules_flows *flows)
{
	auto_str keys = STR_INIT;

	for (size_t i = 0; i < flows->len; i++) {
		const struct rules_flow *f = &flows->items[i];

		if (f->direction != direction || (f->protocol == IPPROTO_ICMP) != pings)
			continue;
		str_adds(&keys, keys.len ? ", " : "");
		add_key(&keys, f);
	}
	/* added first: one may have ended meanwhile */
	if (keys.len)
		str_addf(text,
			 "add element netdev %1$s %2$s { %3$s }\n"
			 "delete element netdev %1$s %2$s { %3$s }\n",
			 table, set, keys.ptr);
}

void rules_cut_flows(struct str *text, const struct rules_card *card,
		     const struct rules_flows *flows)
{
	static const enum policy_direction directions[] = { POLICY_OUT, POLICY_IN };

	for (size_t i = 0; i < array_size(directions); i++) {
		enum policy_direction d = directions[i];

		cut_set(text, card->name, rules_flow_set(d), false, d, flows);
		cut_set(text, card->name, rules_ping_set(d), true, d, flows);
	}
}
