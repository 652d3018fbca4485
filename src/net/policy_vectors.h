/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_POLICY_VECTORS_H
#define NET_POLICY_VECTORS_H

/* Flows and rules as short texts, for the tables of the tests of policies. */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "net/policy.h"

struct vector_word {
	const char *word;
	int value;
};

/* A mistake in a table ends the test. */
static int vector_value(const struct vector_word *words, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i].word, word) == 0)
			return words[i].value;
	(void)fprintf(stderr, "no such word in a flow: '%s'\n", word);
	abort();
}

static uint16_t vector_port(const char *word)
{
	uint64_t port = 0;

	if (word && str_to_u64(word, UINT16_MAX, &port) < 0)
		abort();
	return (uint16_t)port;
}

/* "out world 1.1.1.1 tcp 80 4000 [named]": remote's port, guest's port; the guest is 192.168.64.5.
 */
unused_ static struct policy_flow vector_flow(const char *text)
{
	static const struct vector_word directions[] = { { "in", POLICY_IN },
							 { "out", POLICY_OUT } };
	static const struct vector_word kinds[] = { { "world", POLICY_WORLD },
						    { "host", POLICY_HOST },
						    { "guests", POLICY_GUESTS } };
	static const struct vector_word protocols[] = { { "tcp", IPPROTO_TCP },
							{ "udp", IPPROTO_UDP },
							{ "icmp", IPPROTO_ICMP },
							{ "gre", IPPROTO_GRE } };
	static const struct vector_word named[] = { { "named", true } };
	struct policy_flow flow = { .guest.s_addr = htonl(0xc0a84005) };
	auto_free char *copy = xstrdup(text);
	char *rest = copy, *words[7] = { NULL };

	for (size_t i = 0; i < array_size(words); i++)
		words[i] = strsep(&rest, " ");
	if (!words[3] || rest || inet_pton(AF_INET, words[2], &flow.remote) != 1)
		abort();
	flow.direction = (enum policy_direction)vector_value(directions, 2, words[0]);
	flow.kind = (enum policy_remote)vector_value(kinds, 3, words[1]);
	flow.protocol = (uint8_t)vector_value(protocols, 4, words[3]);
	flow.remote_port = vector_port(words[4]);
	flow.guest_port = vector_port(words[5]);
	flow.named = words[6] && vector_value(named, 1, words[6]);
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
