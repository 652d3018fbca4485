/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rules.h"
#include "net/prefix.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#define INET "inet linzer"
#define NETDEV "netdev linzer"
#define GROUP "19546"
/*
 * A guest's flow takes its port of the host's from whoever serves there, for that remote address
 * and port. So it gets one of those from which clients send (the kernel's ip_local_port_range
 * begins with the same); a guest's own kernel uses them, too, and keeps what it chose.
 */
#define PORTS "32768-65535"

_Static_assert((int)RULES_FAMILY == (int)NFPROTO_INET, "see there");
_Static_assert(RULES_GROUP == 19546, "GROUP is RULES_GROUP in decimal");

/* Idempotent: what is there stays as it is. */
static const char declarations[] =
	"add table " INET "\n"
	"add table " NETDEV "\n"
	"add map " INET " taps { type ifname : ipv4_addr; }\n"
	"add set " INET " opened { type ifname; }\n"
	"add set " INET " carried { type ifname . ifname; }\n"
	"add set " INET " guests { type ifname . ipv4_addr; }\n"
	"add set " INET " addresses { type ipv4_addr; }\n"
	"add set " INET " gateways { type ifname . ipv4_addr; }\n"
	"add set " INET " ported { type inet_proto; }\n"
	"add map " INET " services { type ifname . ipv4_addr . inet_proto : inet_service; }\n"
	"add map " INET " leaving { type ifname : verdict; }\n"
	"add map " INET " entering { type ifname : verdict; }\n"
	"add map " INET " bounds { type ifname : verdict; }\n"
	"add set " INET " everybodys { type mark; size 65535; flags dynamic; }\n"
	"add chain " INET " related\n"
	"add chain " INET " bound\n"
	"add chain " INET " leave\n"
	"add chain " INET " enter\n"
	"add chain " INET " input { type filter hook input priority filter - 10; }\n"
	"add chain " INET " forward { type filter hook forward priority filter - 10; }\n"
	"add chain " INET " output { type filter hook output priority filter - 10; }\n"
	"add chain " INET " service { type nat hook prerouting priority dstnat - 10; }\n"
	"add chain " INET " source { type nat hook postrouting priority srcnat - 10; }\n";

/*
 * In the chains' order: to the host (DHCP went to the talker's packet socket
 * already); through the host; from the host. "accept" ends our chain only:
 * the host's own firewall still has its say. DHCP goes to nobody but the talker, and a guest is
 * no server of it. Who else speaks in a guest's name could write down flows that the guest's
 * policy forbids. An error belongs to a flow, but not yet to who sends it: NAT would carry a
 * guest's error about another one's flow to that one.
 * What was judged comes as early as may be: every packet of a flow but the first looks for it.
 * The bound (net/rules_bound.c) comes before a policy, and before the DNS that no policy judges.
 * A policy's chain is gone to, not jumped to: what it passes goes on after the jump to leave or
 * enter, and what no element sends to a policy is dropped there.
 */
static const char skeleton_rules[] =
	"add element " INET " ported { tcp, udp }\n"
	"flush chain " INET " related\n"
	"add rule " INET " related iifname . ct original ip saddr @guests accept\n"
	"add rule " INET " related iifname . ct reply ip saddr @guests accept\n"
	"flush chain " INET " bound\n"
	"add rule " INET " bound iifname vmap @bounds\n"
	"add rule " INET " bound drop\n"
	"flush chain " INET " leave\n"
	"add rule " INET " leave iifname vmap @leaving\n"
	"add rule " INET " leave drop\n"
	"flush chain " INET " enter\n"
	"add rule " INET " enter oifname vmap @entering\n"
	"add rule " INET " enter drop\n"
	"flush chain " INET " input\n"
	"add rule " INET " input iifgroup != " GROUP " ip saddr @addresses drop\n"
	"add rule " INET " input iifgroup != " GROUP " accept\n"
	"add rule " INET " input meta nfproto != ipv4 drop\n"
	"add rule " INET " input udp dport 67 drop\n"
	"add rule " INET " input udp sport 67 drop\n"
	"add rule " INET " input iifname . ip saddr != @guests drop\n"
	"add rule " INET " input fib daddr type != local drop\n"
	"add rule " INET " input ct state new,established ct status confirmed accept\n"
	"add rule " INET " input meta l4proto icmp ct state related jump related\n"
	"add rule " INET " input ct state new jump bound\n"
	"add rule " INET " input meta l4proto udp ct status dnat ct original proto-dst 53 "
	"iifname . ct original ip daddr @gateways accept\n"
	"add rule " INET " input meta l4proto tcp ct status dnat ct original proto-dst 53 "
	"iifname . ct original ip daddr @gateways accept\n"
	"add rule " INET " input ct state != new drop\n"
	"add rule " INET " input tcp flags & (fin | syn | rst | ack) != syn drop\n"
	"add rule " INET " input jump leave\n"
	"flush chain " INET " forward\n"
	"add rule " INET " forward iifgroup " GROUP " ct state established accept\n"
	"add rule " INET " forward iifgroup " GROUP " ct state new ct status confirmed accept\n"
	"add rule " INET " forward iifgroup != " GROUP " ip saddr @addresses drop\n"
	"add rule " INET " forward oifgroup " GROUP " ct state established accept\n"
	"add rule " INET " forward iifgroup != " GROUP " oifgroup != " GROUP
	" iifname @opened iifname . oifname != @carried drop\n"
	"add rule " INET " forward iifgroup != " GROUP " oifgroup != " GROUP " accept\n"
	"add rule " INET " forward meta nfproto != ipv4 drop\n"
	"add rule " INET " forward iifgroup != " GROUP
	" meta l4proto icmp ct state related accept\n"
	"add rule " INET " forward iifgroup != " GROUP " drop\n"
	"add rule " INET " forward meta l4proto icmp ct state related jump related\n"
	"add rule " INET " forward udp dport 67 drop\n"
	"add rule " INET " forward udp sport 67 drop\n"
	"add rule " INET " forward iifname . ip saddr != @guests drop\n"
	"add rule " INET " forward oifgroup " GROUP " oifname . ip daddr != @guests drop\n"
	"add rule " INET " forward ct state != new drop\n"
	"add rule " INET " forward tcp flags & (fin | syn | rst | ack) != syn drop\n"
	"add rule " INET " forward jump bound\n"
	"add rule " INET " forward jump leave\n"
	"add rule " INET " forward oifgroup " GROUP " jump enter\n"
	"flush chain " INET " output\n"
	"add rule " INET " output oifgroup != " GROUP " accept\n"
	"add rule " INET " output meta nfproto != ipv4 drop\n"
	"add rule " INET " output oifname . ip daddr != @guests drop\n"
	"add rule " INET " output ct status confirmed accept\n"
	"add rule " INET " output meta l4proto icmp ct state related accept\n"
	"add rule " INET " output ct state != new drop\n"
	"add rule " INET " output tcp flags & (fin | syn | rst | ack) != syn drop\n"
	"add rule " INET " output jump enter\n"
	"flush chain " INET " service\n"
	"add rule " INET " service iifgroup " GROUP " udp dport 53 "
	"redirect to :iifname . ip daddr . meta l4proto map @services\n"
	"add rule " INET " service iifgroup " GROUP " tcp dport 53 "
	"redirect to :iifname . ip daddr . meta l4proto map @services\n"
	"flush chain " INET " source\n"
	"add rule " INET " source iifgroup " GROUP " oifgroup != " GROUP
	" meta l4proto { tcp, udp } masquerade to :" PORTS "\n"
	"add rule " INET " source iifgroup " GROUP " oifgroup != " GROUP " masquerade\n";

void rules_add_skeleton(struct str *text)
{
	str_adds(text, declarations);
	str_adds(text, skeleton_rules);
}

/*
 * The gate: what no rule accepts is dropped. ARP is answered for the subnet
 * only (proxy ARP would tell which networks the host has); an address probe
 * has no sender yet (RFC 5227 section 1.1). The limits are the talker's, who
 * has to read all that gets through. DHCP is asked of us alone, and answered by us alone.
 *
 * The first rule is for speed: MAC and type at once, a header without options, the address, and a
 * port beyond those that are looked into (53, 67, 68; of what has no ports these two bytes are
 * something else, and the rules below pass it as well). A fragment but the first has no such
 * bytes, and goes on.
 */
static const char gate[] =
	"add chain " NETDEV " %1$s { type filter hook ingress device \"%1$s\" "
	"priority -300; policy drop; }\n"
	"flush chain " NETDEV " %1$s\n"
	"add rule " NETDEV " %1$s @ll,48,64 0x%6$s0800 @nh,0,8 0x45 ip saddr %3$s "
	"ip daddr != 127.0.0.0/8 @th,16,16 > 68 accept\n"
	"add rule " NETDEV " %1$s ether saddr != %2$s counter drop\n"
	"add rule " NETDEV " %1$s ether type arp arp operation request "
	"arp daddr ip != %4$s/%5$u counter drop\n"
	"add rule " NETDEV " %1$s ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 "
	"arp saddr ether %2$s arp saddr ip %3$s accept\n"
	"add rule " NETDEV " %1$s ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 "
	"arp operation request arp saddr ether %2$s arp saddr ip 0.0.0.0 accept\n"
	"add rule " NETDEV " %1$s ether type ip ip hdrlength > 5 counter drop\n"
	"add rule " NETDEV " %1$s ether type ip ip daddr 127.0.0.0/8 counter drop\n"
	"add rule " NETDEV " %1$s ether type ip ip daddr %4$s udp dport 53 "
	"limit rate over 1000/second burst 1000 packets counter drop\n"
	"add rule " NETDEV " %1$s ether type ip udp dport 67 "
	"limit rate over 100/second burst 100 packets counter drop\n"
	"add rule " NETDEV " %1$s ether type ip udp sport 67 udp dport 68 counter drop\n"
	"add rule " NETDEV " %1$s ether type ip udp dport 67 "
	"ip daddr != %4$s ip daddr != 255.255.255.255 counter drop\n"
	"add rule " NETDEV " %1$s ether type ip ip saddr %3$s accept\n"
	"add rule " NETDEV " %1$s ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 "
	"udp sport 68 udp dport 67 accept\n"
	"add rule " NETDEV " %1$s counter drop\n";

static void add_gate(struct str *text, const struct rules_guest *g)
{
	const uint8_t *m = g->mac;
	auto_free char *mac =
		str_format("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	auto_free char *bare =
		str_format("%02x%02x%02x%02x%02x%02x", m[0], m[1], m[2], m[3], m[4], m[5]);

	str_addf(text, gate, g->name, mac, dotted(g->address).text, dotted(g->gateway).text,
		 g->prefix, bare);
}

static void add_elements(struct str *text, const struct rules_guest *g)
{
	struct dotted address = dotted(g->address), gateway = dotted(g->gateway);

	str_addf(text, "add element " INET " taps { \"%s\" : %s }\n", g->name, gateway.text);
	str_addf(text, "add element " INET " guests { \"%s\" . %s }\n", g->name, address.text);
	str_addf(text, "add element " INET " addresses { %s }\n", address.text);
	str_addf(text, "add element " INET " gateways { \"%s\" . %s }\n", g->name, gateway.text);
	str_addf(text, "add element " INET " services { \"%s\" . %s . udp : %u }\n", g->name,
		 gateway.text, g->dns_udp);
	str_addf(text, "add element " INET " services { \"%s\" . %s . tcp : %u }\n", g->name,
		 gateway.text, g->dns_tcp);
}

/* All of them must be there. */
static void delete_elements(struct str *text, const char *name, struct in_addr guest,
			    struct in_addr host)
{
	struct dotted address = dotted(guest), gateway = dotted(host);

	str_addf(text, "delete element " INET " taps { \"%s\" }\n", name);
	str_addf(text, "delete element " INET " guests { \"%s\" . %s }\n", name, address.text);
	str_addf(text, "delete element " INET " addresses { %s }\n", address.text);
	str_addf(text, "delete element " INET " gateways { \"%s\" . %s }\n", name, gateway.text);
	str_addf(text, "delete element " INET " services { \"%s\" . %s . udp }\n", name,
		 gateway.text);
	str_addf(text, "delete element " INET " services { \"%s\" . %s . tcp }\n", name,
		 gateway.text);
}

/* Added first: some kernels remove the chain with its device, some do not. */
static void delete_gate(struct str *text, const char *name)
{
	str_addf(text, "add chain " NETDEV " %s\n", name);
	str_addf(text, "flush chain " NETDEV " %s\n", name);
	str_addf(text, "delete chain " NETDEV " %s\n", name);
}

void rules_add_guest(struct str *text, const struct rules_guest *guest)
{
	add_gate(text, guest);
	rules_add_policy(text, guest->name);
	rules_add_bound(text, guest->name, &guest->bound);
	add_elements(text, guest);
}

void rules_remove_guest(struct str *text, const struct rules_guest *guest)
{
	str_adds(text, declarations);
	add_elements(text, guest);
	delete_elements(text, guest->name, guest->address, guest->gateway);
	rules_remove_bound(text, guest->name);
	rules_remove_policy(text, guest->name);
	delete_gate(text, guest->name);
}

void rules_sweep_guest(struct str *text, const char *name, struct in_addr gateway)
{
	struct in_addr address;

	if (!subnet_interface_address(name, &address))
		return;
	delete_elements(text, name, address, gateway);
	rules_remove_bound(text, name);
	rules_remove_policy(text, name);
	delete_gate(text, name);
}

void rules_add_opened(struct str *text, const char *name)
{
	str_addf(text, "add element " INET " opened { \"%s\" }\n", name);
	str_addf(text, "add element " INET " carried { \"%s\" . \"%s\" }\n", name, name);
}

void rules_clear_opened(struct str *text)
{
	str_adds(text, "flush set " INET " opened\n"
		       "flush set " INET " carried\n");
}

void rules_drop_tables(struct str *text)
{
	str_adds(text, "add table " INET "\ndelete table " INET "\n"
		       "add table " NETDEV "\ndelete table " NETDEV "\n");
}

bool rules_is_plain_name(const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-.";
	size_t len = strlen(name);

	return len > 0 && len < IFNAMSIZ && strspn(name, plain) == len;
}

/* Move *at behind the next quoted name. Return: false where there is none. */
static bool next_name(const char **at, char name[IFNAMSIZ])
{
	const char *begin = strchr(*at, '"'), *end = begin ? strchr(begin + 1, '"') : NULL;
	size_t len;

	if (!end)
		return false;
	len = (size_t)(end - begin - 1);
	*at = end + 1;
	name[0] = '\0'; /* too long: as if empty, which nobody takes */
	if (len < IFNAMSIZ) {
		memcpy(name, begin + 1, len);
		name[len] = '\0';
	}
	return true;
}

/* " : 192.168.64.1" at @at. */
static bool read_value(const char *at, struct in_addr *address)
{
	char text[INET_ADDRSTRLEN];
	size_t len;

	if (!str_starts(at, " : "))
		return false;
	len = strspn(at + 3, "0123456789.");
	if (len >= sizeof(text))
		return false;
	memcpy(text, at + 3, len);
	text[len] = '\0';
	return inet_pton(AF_INET, text, address) == 1;
}

void rules_read_taps(const char *answer, struct rules_taps *taps)
{
	struct rules_tap tap;
	struct in_addr address;

	while (next_name(&answer, tap.name))
		if (read_value(answer, &tap.gateway) &&
		    subnet_interface_address(tap.name, &address))
			rules_taps_add(taps, tap);
}

void rules_read_opened(const char *answer, struct strings *opened)
{
	char name[IFNAMSIZ];

	while (next_name(&answer, name))
		if (rules_is_plain_name(name))
			strings_add(opened, name);
}

void rules_list_drops(struct str *text, const char *name, enum rules_drop which)
{
	static const char *const chains[] = { NETDEV " ", INET " od-", INET " id-" };

	str_addf(text, "list chain %s%s\n", chains[which], name);
}

uint64_t rules_read_drops(const char *answer)
{
	static const char word[] = "counter packets ";
	uint64_t sum = 0;

	while ((answer = strstr(answer, word))) {
		answer += strlen(word);
		sum += strtoull(answer, NULL, 10);
	}
	return sum;
}
