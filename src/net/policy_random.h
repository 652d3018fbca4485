/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_POLICY_RANDOM_H
#define NET_POLICY_RANDOM_H

/* Random policies and flows that meet in few places, for tests that compare two judges. */

#include <arpa/inet.h>
#include <stdlib.h>

#include "net/policy.h"

unused_ static unsigned below(unsigned count)
{
	return (unsigned)random() % count;
}

/* Near the ends and near one another. */
unused_ static uint32_t random_address(void)
{
	static const uint32_t bases[] = { 0, 0xfffffff8, 0x7ffffffc, 0x0a000000, 0x0a0000fc };

	return bases[below(array_size(bases))] + below(8);
}

unused_ static struct policy_rule random_rule(enum policy_stage stage)
{
	static const uint8_t lengths[] = { 0, 1, 8, 24, 28, 30, 31, 32, 32 };
	struct policy_rule r = POLICY_RULE_INIT;

	r.stage = (uint8_t)stage;
	r.pass = (uint8_t)below(2);
	r.directions = (uint8_t)(below(3) ? POLICY_OUT | POLICY_IN : 1 + below(2));
	r.remotes = (uint8_t)(below(3) ? POLICY_ALL : 1 + below(POLICY_ALL));
	r.remote_prefix = lengths[below(array_size(lengths))];
	if (r.remote_prefix)
		r.remote.s_addr = htonl(random_address() & UINT32_MAX << (32 - r.remote_prefix));
	if (below(4) == 0)
		r.protocol = below(2) ? IPPROTO_UDP : IPPROTO_ICMP;
	if (r.protocol == IPPROTO_UDP && below(2))
		r.remote_ports = (struct policy_ports){ 1, 2 };
	if (!r.remote_prefix)
		r.named = (uint8_t)below(2);
	return r;
}

unused_ static struct policy_flow random_flow(void)
{
	return (struct policy_flow){
		.direction = below(2) ? POLICY_OUT : POLICY_IN,
		.kind = (enum policy_remote)(1 << below(3)),
		.protocol = below(2) ? IPPROTO_UDP : IPPROTO_ICMP,
		.named = below(2),
		.remote.s_addr = htonl(random_address()),
		.remote_port = (uint16_t)below(4),
	};
}

/* Fewer than @rules rules in each stage. */
unused_ static void random_policy(struct policy *policy, unsigned rules)
{
	for (enum policy_stage s = POLICY_HOST_WIDE; s < POLICY_STAGES; s++)
		for (unsigned i = below(rules); i > 0; i--)
			policy_rules_add(&policy->rules, random_rule(s));
}

#endif
