/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rules_bridged.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"

enum { MAC_TEXT = 20 };

/* The words by which the two directions of packets differ. */
struct way {
	enum policy_direction direction;
	const char *name, *other;
	const char *remote, *guest; /* address */
	const char *remote_port, *guest_port;
	const char *key; /* of the packet's flow */
	const char *pass;
};

static const struct way ways[] = {
	{ POLICY_OUT, "out", "in", "daddr", "saddr", "dport", "sport",
	  "ip daddr . meta l4proto . th sport . th dport", "goto leave" },
	{ POLICY_IN, "in", "out", "saddr", "daddr", "sport", "dport",
	  "ip saddr . meta l4proto . th dport . th sport", "accept" },
};

struct dotted {
	char text[INET_ADDRSTRLEN];
};

static struct dotted dotted(struct in_addr address)
{
	struct dotted d = { "0.0.0.0" };

	(void)inet_ntop(AF_INET, &address, d.text, sizeof(d.text));
	return d;
}

struct mac_text {
	char text[MAC_TEXT];
};

/* @between: what stands between two bytes. */
static struct mac_text mac_text(const uint8_t m[6], const char *between)
{
	struct mac_text t;
	const char *b = between;

	(void)snprintf(t.text, sizeof(t.text), "%02x%s%02x%s%02x%s%02x%s%02x%s%02x", m[0], b, m[1],
		       b, m[2], b, m[3], b, m[4], b, m[5]);
	return t;
}

/* %1: table, tap; %2, %3: how many flows, pings; %4 wire; %5 host. */
static const char declarations[] =
	"add table netdev %1$s\n"
	"flush table netdev %1$s\n"
	"add counter netdev %1$s gate\n"
	"add counter netdev %1$s out\n"
	"add counter netdev %1$s in\n"
	"table netdev %1$s {\n"
	"	set ported { type inet_proto; elements = { tcp, udp }; }\n"
	"	set servers { type ipv4_addr; flags dynamic,timeout; size 16; timeout 30d; }\n"
	"	set flows_out { type ipv4_addr . inet_proto . inet_service . inet_service; "
	"flags dynamic,timeout; size %2$u; timeout 2m; }\n"
	"	set flows_in { type ipv4_addr . inet_proto . inet_service . inet_service; "
	"flags dynamic,timeout; size %2$u; timeout 2m; }\n"
	"	set pings_out { typeof ip daddr . icmp id; flags dynamic,timeout; "
	"size %3$u; timeout 1m; }\n"
	"	set pings_in { typeof ip daddr . icmp id; flags dynamic,timeout; "
	"size %3$u; timeout 1m; }\n"
	"	chain leave { }\n"
	"	chain gate_arp { }\n"
	"	chain gate_new { }\n"
	"	chain gate_dhcp { }\n"
	"	chain gate_lease { }\n"
	"	chain gate_error { }\n"
	"	chain rules_out_0 { }\n"
	"	chain rules_out_1 { }\n"
	"	chain rules_out_2 { }\n"
	"	chain rules_in_0 { }\n"
	"	chain rules_in_1 { }\n"
	"	chain rules_in_2 { }\n"
	"	chain rest_out { }\n"
	"	chain rest_in { }\n"
	"	chain mine_out { }\n"
	"	chain mine_in { }\n"
	"	chain answer_out { }\n"
	"	chain answer_in { }\n"
	"	chain flow_out { }\n"
	"	chain flow_in { }\n"
	"	chain gate_out {\n"
	"		type filter hook ingress device \"%1$s\" priority -300; policy drop;\n"
	"	}\n"
	"	chain gate_in {\n"
	"		type filter hook egress device \"%1$s\" priority -300; policy drop;\n"
	"	}\n"
	"}\n";

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

static const char plain_interface[] =
	"table netdev %1$s {\n"
	"	chain leave {\n"
	"		fwd to \"%2$s\"\n"
	"	}\n"
	"	chain wire_in {\n"
	"		type filter hook ingress device \"%2$s\" priority -300; policy drop;\n"
	"		fwd to \"%1$s\"\n"
	"	}\n"
	"}\n";

/* The host's own card beside it is for this guest alone. */
static const char host_interface[] =
	"table netdev %1$s {\n"
	"	chain host_in {\n"
	"		type filter hook ingress device \"%2$s\" priority -300; policy drop;\n"
	"		@ll,48,48 0x%3$s accept\n"
	"	}\n"
	"	chain host_out {\n"
	"		type filter hook egress device \"%2$s\" priority -300; policy drop;\n"
	"		@ll,0,48 0x%3$s accept\n"
	"	}\n"
	"}\n";

static void add_frame(struct str *text, const struct rules_card *card)
{
	str_addf(text, declarations, card->name, (unsigned)RULES_FLOWS_MAX,
		 (unsigned)RULES_PINGS_MAX);
	for (size_t i = 0; i < array_size(ways); i++)
		str_addf(text, known_flows, card->name, ways[i].name, ways[i].other, ways[i].key,
			 ways[i].pass);
	if (!card->wire[0])
		str_addf(text, "add rule netdev %s leave accept\n", card->name);
	else
		str_addf(text, plain_interface, card->name, card->wire);
	if (card->host[0])
		str_addf(text, host_interface, card->name, card->host,
			 mac_text(card->mac, "").text);
}

/*
 * The gate, %2 and %3 the MAC with and without colons. DHCP is looked into: what else
 * would be sent under its ports passes no policy. A guest answers nobody's DHCP, and does not
 * tell others of better routes.
 */
static const char gate[] =
	"flush chain netdev %1$s gate_out\n"
	"flush chain netdev %1$s gate_arp\n"
	"flush chain netdev %1$s gate_new\n"
	"flush chain netdev %1$s gate_dhcp\n"
	"flush chain netdev %1$s gate_lease\n"
	"flush chain netdev %1$s gate_error\n"
	"flush chain netdev %1$s gate_in\n"
	"table netdev %1$s {\n"
	"	chain gate_new {\n"
	"		ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 "
	"goto gate_dhcp\n"
	"		counter name gate drop\n"
	"	}\n"
	"	chain gate_dhcp {\n"
	"		@th,64,8 1 @th,288,48 0x%3$s @th,1952,32 0x63825363 "
	"limit rate 20/second burst 40 packets goto leave\n"
	"		counter name gate drop\n"
	"	}\n"
	"	chain gate_lease {\n"
	"		@th,64,8 2 @th,288,48 0x%3$s @th,1952,32 0x63825363 "
	"update @servers { ip saddr } accept\n"
	"		@th,64,8 2 @th,288,48 0x%3$s @th,1952,32 0x63825363 accept\n"
	"	}\n"
	"	chain gate_out {\n"
	"		ether saddr != %2$s counter name gate drop\n"
	"		ether type arp goto gate_arp\n"
	"		ether type != ip counter name gate drop\n"
	"		@nh,0,8 != 0x45 counter name gate drop\n"
	"	}\n"
	"	chain gate_arp {\n"
	"		limit rate over 100/second burst 100 packets counter name gate drop\n"
	"	}\n"
	"	chain gate_in {\n"
	"		@ll,0,8 & 1 == 0 @ll,0,48 != 0x%3$s drop\n"
	"		@ll,96,16 0x0806 accept\n"
	"		@ll,96,16 != 0x0800 drop\n"
	"		@nh,0,8 != 0x45 drop\n"
	"		udp sport 67 udp dport 68 goto gate_lease\n"
	"	}\n"
	"}\n";

#define ARP_FORM                                          \
	"arp htype 1 arp ptype ip arp hlen 6 arp plen 4 " \
	"arp saddr ether %2$s "

/* A probe asks whether an address is free, and has no sender yet (RFC 5227). */
static const char gate_without_address[] =
	"table netdev %1$s {\n"
	"	chain gate_out {\n"
	"		goto gate_new\n"
	"	}\n"
	"	chain gate_arp {\n"
	"		" ARP_FORM "arp operation request arp saddr ip 0.0.0.0 goto leave\n"
	"		counter name gate drop\n"
	"	}\n"
	"}\n";

/* %3 the address, %4 the same in hexadecimal. */
static const char gate_with_address[] =
	"table netdev %1$s {\n"
	"	chain gate_out {\n"
	"		ip saddr != %3$s goto gate_new\n"
	"		ip daddr 127.0.0.0/8 counter name gate drop\n"
	"		udp sport 67 counter name gate drop\n"
	"		udp sport 68 udp dport 67 ip daddr 255.255.255.255 goto gate_dhcp\n"
	"		udp sport 68 udp dport 67 ip daddr @servers goto gate_dhcp\n"
	"		icmp type { redirect, router-advertisement } counter name gate drop\n"
	"		goto flow_out\n"
	"	}\n"
	"	chain gate_arp {\n"
	"		" ARP_FORM "arp operation { request, reply } arp saddr ip %3$s "
	"arp daddr ip != 0.0.0.0 goto leave\n"
	"		" ARP_FORM
	"arp operation request arp saddr ip 0.0.0.0 arp daddr ip %3$s goto leave\n"
	"		counter name gate drop\n"
	"	}\n"
	"	chain gate_error {\n"
	"		ip length <= 576 @th,64,8 0x45 @th,160,32 0x%4$08x "
	"limit rate 100/second burst 100 packets accept\n"
	"		counter name in drop\n"
	"	}\n"
	"	chain gate_in {\n"
	"		@ll,0,8 & 1 == 0 ip daddr != %3$s drop\n"
	"		goto flow_in\n"
	"	}\n"
	"}\n";

static void add_gate(struct str *text, const struct rules_card *card)
{
	struct mac_text mac = mac_text(card->mac, ":");

	str_addf(text, gate, card->name, mac.text, mac_text(card->mac, "").text);
	if (card->address.s_addr)
		str_addf(text, gate_with_address, card->name, mac.text, dotted(card->address).text,
			 ntohl(card->address.s_addr));
	else
		str_addf(text, gate_without_address, card->name, mac.text);
}

/* The policy. */

/* What a bridged card can tell apart: other guests are machines of the LAN as any other. */
enum { KINDS = POLICY_WORLD | POLICY_HOST };

static bool matters(const struct policy_rule *rule, const struct way *way)
{
	return (rule->directions & (unsigned)way->direction) && (rule->remotes & KINDS);
}

static bool is_any(struct policy_ports ports)
{
	return ports.first == 0 && ports.last == UINT16_MAX;
}

static bool has_ports(const struct policy_rule *rule)
{
	return !is_any(rule->remote_ports) || !is_any(rule->guest_ports);
}

static void add_ports(struct str *text, const char *which, struct policy_ports ports)
{
	if (is_any(ports))
		return;
	str_addf(text, "th %s %u", which, ports.first);
	if (ports.last != ports.first) /* nft refuses a range of one */
		str_addf(text, "-%u", ports.last);
	str_addc(text, ' ');
}

static void add_prefix(struct str *text, const char *which, struct in_addr network, unsigned bits)
{
	if (bits > 0)
		str_addf(text, "ip %s %s/%u ", which, dotted(network).text, bits);
}

static void add_protocol(struct str *text, const struct policy_rule *rule)
{
	if (rule->protocol)
		str_addf(text, "meta l4proto %u ", rule->protocol);
	else if (has_ports(rule))
		str_adds(text, "meta l4proto @ported ");
}

static void add_rule(struct str *text, const struct rules_card *card,
		     const struct policy_rule *rule, const struct way *way)
{
	str_addf(text, "add rule netdev %s rules_%s_%u ", card->name, way->name, rule->stage);
	add_protocol(text, rule);
	add_prefix(text, way->remote, rule->remote, rule->remote_prefix);
	add_prefix(text, way->guest, rule->guest, rule->guest_prefix);
	add_ports(text, way->remote_port, rule->remote_ports);
	add_ports(text, way->guest_port, rule->guest_ports);
	if ((rule->remotes & KINDS) != KINDS)
		str_addf(text, "fib %s type %s local ", way->remote,
			 rule->remotes & POLICY_HOST ? "==" : "!=");
	if (rule->pass)
		str_adds(text, "return\n");
	else
		str_addf(text, "counter name %s drop\n", way->name);
}

/* What a policy says of one direction. */
struct tally {
	bool stages[POLICY_STAGES]; /* which have rules */
	bool any, ports;
};

static struct tally tally(const struct policy *policy, const struct way *way)
{
	struct tally t = { 0 };

	for (size_t i = 0; i < policy->rules.len; i++) {
		const struct policy_rule *rule = &policy->rules.items[i];

		if (!matters(rule, way))
			continue;
		t.stages[rule->stage] = t.any = true;
		t.ports |= has_ports(rule);
	}
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

static void add_way(struct str *text, const struct rules_card *card, const struct policy *policy,
		    const struct way *way)
{
	struct tally t = tally(policy, way);

	for (size_t i = 0; i < policy->rules.len; i++)
		if (matters(&policy->rules.items[i], way))
			add_rule(text, card, &policy->rules.items[i], way);
	add_rest(text, card, way, &t);
	add_flow(text, card, way, &t);
}

void rules_set_card_policy(struct str *text, const struct rules_card *card,
			   const struct policy *policy)
{
	bool any = tally(policy, &ways[0]).any || tally(policy, &ways[1]).any;

	flush_policy(text, card);
	for (size_t i = 0; i < array_size(ways); i++) {
		const struct way *w = &ways[i];

		if (any)
			add_way(text, card, policy, w);
		else
			str_addf(text, flow_without_rules, card->name, w->name, w->other, w->key,
				 w->pass);
	}
}

void rules_add_card(struct str *text, const struct rules_card *card, const struct policy *policy)
{
	add_frame(text, card);
	add_gate(text, card);
	rules_set_card_policy(text, card, policy);
}

void rules_set_card_address(struct str *text, const struct rules_card *card)
{
	add_gate(text, card);
	for (size_t i = 0; i < array_size(ways); i++) {
		str_addf(text, "flush set netdev %s flows_%s\n", card->name, ways[i].name);
		str_addf(text, "flush set netdev %s pings_%s\n", card->name, ways[i].name);
	}
}

void rules_remove_card(struct str *text, const char *name)
{
	str_addf(text, "add table netdev %1$s\ndelete table netdev %1$s\n", name);
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

bool rules_is_card(const char *name)
{
	static const char prefix[] = "lzb";
	size_t digits;

	if (!str_starts(name, prefix))
		return false;
	name += sizeof(prefix) - 1;
	digits = strspn(name, "0123456789");
	return digits > 0 && digits <= RULES_CARD_DIGITS && name[digits] == '\0';
}

void rules_read_cards(const char *answer, struct strings *names)
{
	static const char head[] = "table netdev ";

	for (; *answer; answer += strcspn(answer, "\n"), answer += strspn(answer, "\n")) {
		char name[NET_NAME_MAX] = "";
		size_t len;

		if (!str_starts(answer, head))
			continue;
		answer += strlen(head);
		len = strcspn(answer, " \n"); /* its handle may follow */
		if (len < sizeof(name))
			memcpy(name, answer, len);
		if (rules_is_card(name))
			strings_add(names, name);
	}
}

void rules_list_card_drops(struct str *text, const struct rules_card *card)
{
	str_addf(text, "list counters table netdev %s\n", card->name);
}

/* "counter NAME {", its handle perhaps, and "packets N bytes M". */
static uint64_t read_counter(const char *answer, const char *name)
{
	static const char word[] = "packets ";
	auto_free char *head = str_format("counter %s {", name);
	const char *at = strstr(answer, head);

	at = at ? strstr(at, word) : NULL;
	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

void rules_read_card_drops(const char *answer, struct net_drops *drops)
{
	drops->gate = read_counter(answer, "gate");
	drops->out = read_counter(answer, "out");
	drops->in = read_counter(answer, "in");
}
