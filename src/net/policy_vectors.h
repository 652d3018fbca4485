/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_POLICY_VECTORS_H
#define NET_POLICY_VECTORS_H

/* Flows and rules as short texts, for the tables of the tests of policies. */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "net/policy.h"

/* "out world 1.1.1.1 tcp 80 4000 [named]": remote's port, guest's port; the guest is 192.168.64.5.
 */
unused_ static struct policy_flow vector_flow(const char *text)
{
	struct policy_flow flow = { .guest.s_addr = htonl(0xc0a84005) };
	char direction[8], kind[8], remote[16], protocol[8], named[8] = "";

	if (sscanf(text, "%7s %7s %15s %7s %hu %hu %7s", direction, kind, remote, protocol,
		   &flow.remote_port, &flow.guest_port, named) < 4 ||
	    inet_pton(AF_INET, remote, &flow.remote) != 1)
		abort();
	flow.direction = strcmp(direction, "in") == 0 ? POLICY_IN : POLICY_OUT;
	flow.kind = strcmp(kind, "host") == 0	  ? POLICY_HOST
		    : strcmp(kind, "guests") == 0 ? POLICY_GUESTS
						  : POLICY_WORLD;
	flow.protocol = strcmp(protocol, "tcp") == 0	? IPPROTO_TCP
			: strcmp(protocol, "udp") == 0	? IPPROTO_UDP
			: strcmp(protocol, "icmp") == 0 ? IPPROTO_ICMP
							: IPPROTO_GRE;
	flow.named = strcmp(named, "named") == 0;
	return flow;
}

unused_ static bool vector_passes(const struct policy *policy, const char *text)
{
	struct policy_flow flow = vector_flow(text);

	return policy_passes(policy, &flow);
}

unused_ static void vector_add_side(struct str *text, struct in_addr address, unsigned bits,
				    struct policy_ports ports)
{
	char dotted[INET_ADDRSTRLEN] = "";

	(void)inet_ntop(AF_INET, &address, dotted, sizeof(dotted));
	if (bits)
		str_addf(text, " %s/%u", dotted, bits);
	else
		str_adds(text, " any");
	if (ports.first != 0 || ports.last != UINT16_MAX)
		str_addf(text, ":%u-%u", ports.first, ports.last);
}

/* "own block out whg tcp REMOTE GUEST": remotes are world, host, guests; a protocol only if set. */
unused_ static void vector_add_rule(struct str *text, const struct policy_rule *rule)
{
	static const char *const stages[] = { "host-wide", "own", "mode" };
	static const char *const directions[] = { "?", "out", "in", "both" };

	str_addf(text, "%s %s %s ", stages[rule->stage], rule->pass ? "pass" : "block",
		 directions[rule->directions]);
	str_addf(text, "%s%s%s", rule->remotes & POLICY_WORLD ? "w" : "",
		 rule->remotes & POLICY_HOST ? "h" : "", rule->remotes & POLICY_GUESTS ? "g" : "");
	if (rule->protocol)
		str_addf(text, " proto %u", rule->protocol);
	vector_add_side(text, rule->remote, rule->remote_prefix, rule->remote_ports);
	vector_add_side(text, rule->guest, rule->guest_prefix, rule->guest_ports);
	str_adds(text, rule->named ? " named\n" : "\n");
}

/* The rules from number @first on, one a line. */
unused_ static void vector_add_rules(struct str *text, const struct policy *policy, size_t first)
{
	for (size_t i = first; i < policy->rules.len; i++)
		vector_add_rule(text, &policy->rules.items[i]);
}

#endif
