/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rules_bridged.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "net/prefix.h"

enum { MAC_TEXT = 20 };

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
	"	chain drop_out {\n"
	"		counter name out drop\n"
	"	}\n"
	"	chain drop_in {\n"
	"		counter name in drop\n"
	"	}\n"
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
	rules_add_known_flows(text, card);
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
	"		meta l4proto tcp goto flow_out\n"
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

void rules_add_card(struct str *text, const struct rules_card *card, const struct policy *policy)
{
	add_frame(text, card);
	add_gate(text, card);
	rules_set_card_policy(text, card, policy);
}

void rules_set_card_address(struct str *text, const struct rules_card *card)
{
	add_gate(text, card);
	rules_forget_flows(text, card);
}

void rules_remove_card(struct str *text, const char *name)
{
	str_addf(text, "add table netdev %1$s\ndelete table netdev %1$s\n", name);
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
