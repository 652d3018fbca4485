/* SPDX-License-Identifier: Apache-2.0 */
#include "net/policy.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "net/prefix.h"

void policy_release(struct policy *policy)
{
	policy_rules_release(&policy->rules);
	strings_release(&policy->names);
	policy->names_only = false;
}

/* Which flows a rule matches. */

static bool has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

static bool is_any_port(struct policy_ports ports)
{
	return ports.first == 0 && ports.last == UINT16_MAX;
}

static bool in_ports(struct policy_ports ports, uint16_t port)
{
	return port >= ports.first && port <= ports.last;
}

static bool match_ports(const struct policy_rule *rule, const struct policy_flow *flow)
{
	if (is_any_port(rule->remote_ports) && is_any_port(rule->guest_ports))
		return true;
	return has_ports(flow->protocol) && in_ports(rule->remote_ports, flow->remote_port) &&
	       in_ports(rule->guest_ports, flow->guest_port);
}

bool policy_rule_matches(const struct policy_rule *rule, const struct policy_flow *flow)
{
	return (rule->directions & (unsigned)flow->direction) &&
	       (rule->remotes & (unsigned)flow->kind) && (!rule->named || flow->named) &&
	       (!rule->protocol || rule->protocol == flow->protocol) &&
	       prefix_holds(rule->remote, rule->remote_prefix, flow->remote) &&
	       prefix_holds(rule->guest, rule->guest_prefix, flow->guest) &&
	       match_ports(rule, flow);
}

bool policy_passes(const struct policy *policy, const struct policy_flow *flow)
{
	int decided = -1; /* the stage whose other rules no longer count */

	for (size_t i = 0; i < policy->rules.len; i++) {
		const struct policy_rule *rule = &policy->rules.items[i];

		if (rule->stage == decided || !policy_rule_matches(rule, flow))
			continue;
		if (!rule->pass)
			return false;
		decided = rule->stage;
	}
	return true;
}

/* The form of rules and names. */

static bool is_prefix(struct in_addr network, unsigned bits)
{
	return bits <= 32 && prefix_holds(network, bits, network);
}

static bool are_ports_right(const struct policy_rule *r)
{
	if (r->remote_ports.first > r->remote_ports.last ||
	    r->guest_ports.first > r->guest_ports.last)
		return false;
	return !r->protocol || has_ports(r->protocol) ||
	       (is_any_port(r->remote_ports) && is_any_port(r->guest_ports));
}

/* What is wrong with the rule; NULL: nothing. */
static const char *find_fault(const struct policy_rule *r)
{
	if (r->stage >= POLICY_STAGES)
		return "unknown stage";
	if (r->pass > 1)
		return "neither pass nor block";
	if (!r->directions || (r->directions & ~(POLICY_OUT | POLICY_IN)))
		return "unknown direction";
	if (!r->remotes || (r->remotes & ~POLICY_ALL))
		return "unknown kind of remote";
	if (r->named > 1 || (r->named && r->remote_prefix))
		return "neither names nor a prefix";
	if (!is_prefix(r->remote, r->remote_prefix) || !is_prefix(r->guest, r->guest_prefix))
		return "not a prefix";
	if (!are_ports_right(r))
		return "not a range of ports";
	return NULL;
}

static int check_rules(const struct policy_rules *rules, struct error *err)
{
	uint8_t stage = 0;

	if (rules->len > POLICY_RULES_MAX)
		return error_set(err, E_INVALID, "policy: more than %d rules", POLICY_RULES_MAX);
	for (size_t i = 0; i < rules->len; i++) {
		const char *fault = find_fault(&rules->items[i]);

		if (!fault && rules->items[i].stage < stage)
			fault = "stage out of order";
		if (fault)
			return error_set(err, E_INVALID, "policy: rule %zu: %s", i + 1, fault);
		stage = rules->items[i].stage;
	}
	return 0;
}

int policy_check(const struct policy *policy, struct error *err)
{
	if (policy->names.len > POLICY_NAMES_MAX)
		return error_set(err, E_INVALID, "policy: more than %d names", POLICY_NAMES_MAX);
	for (size_t i = 0; i < policy->names.len; i++)
		if (!policy_is_name(policy->names.items[i]))
			return error_set(err, E_INVALID, "policy: name %zu is none", i + 1);
	return check_rules(&policy->rules, err);
}

static bool is_label(const char *label, size_t len)
{
	return len > 0 && len <= 63 && label[0] != '-' && label[len - 1] != '-';
}

/* Digits alone at the end would be a (bad) address. */
static bool has_letter(const char *label)
{
	return strpbrk(label, "abcdefghijklmnopqrstuvwxyz") != NULL;
}

bool policy_is_name(const char *name)
{
	size_t len;

	if (str_starts(name, "*."))
		name += 2;
	if (strlen(name) > POLICY_NAME_MAX - 2) /* RFC 1035's limit */
		return false;
	for (;; name += len + 1) {
		len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_");
		if (!is_label(name, len))
			return false;
		if (name[len] == '\0')
			return has_letter(name);
		if (name[len] != '.')
			return false;
	}
}

static bool match_name(const char *allowed, const char *name, size_t len)
{
	size_t below;

	if (allowed[0] != '*')
		return strcmp(allowed, name) == 0;
	below = strlen(allowed) - 1; /* with its dot */
	return len > below && memcmp(name + len - below, allowed + 1, below) == 0;
}

int policy_find_name(const struct strings *names, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < names->len; i++)
		if (match_name(names->items[i], name, len))
			return (int)i;
	return -1;
}

/* What modes and no-local close. */

static void add_block(struct policy *policy, unsigned directions, unsigned remotes)
{
	struct policy_rule rule = POLICY_RULE_INIT;

	rule.pass = 0;
	rule.directions = (uint8_t)directions;
	rule.remotes = (uint8_t)remotes;
	policy_rules_add(&policy->rules, rule);
}

static void add_prefix(struct policy *policy, uint32_t network, uint8_t bits, bool pass,
		       unsigned remotes)
{
	struct policy_rule rule = POLICY_RULE_INIT;

	rule.pass = pass;
	rule.remotes = (uint8_t)remotes;
	rule.remote.s_addr = htonl(network);
	rule.remote_prefix = bits;
	policy_rules_add(&policy->rules, rule);
}

void policy_add_mode(struct policy *policy, enum net_mode mode)
{
	assert(mode >= NET_SHARED && mode < NET_MODE_MAX);
	if (mode == NET_SHARED) {
		add_block(policy, POLICY_OUT | POLICY_IN, POLICY_GUESTS);
		add_prefix(policy, 0xa9fe0000, 16, false, POLICY_WORLD);
	}
	if (mode == NET_HOST) {
		add_block(policy, POLICY_OUT | POLICY_IN, POLICY_WORLD | POLICY_GUESTS);
		policy->names_only = true; /* names would be a way out, too */
	}
}

void policy_add_no_local(struct policy *policy)
{
	struct policy_rules *rules = &policy->rules;
	struct policy_rule rule = POLICY_RULE_INIT;
	size_t at = 0;

	rule.stage = POLICY_OWN;
	rule.pass = 0;
	rule.remotes = POLICY_HOST | POLICY_GUESTS;
	while (at < rules->len && rules->items[at].stage < POLICY_OWN)
		at++;
	policy_rules_add(rules, rule); /* for the room */
	memmove(&rules->items[at + 1], &rules->items[at],
		(rules->len - 1 - at) * sizeof(rules->items[0]));
	rules->items[at] = rule;
}

/* The ranges that IANA's registry of special addresses does not call global, and multicast. */
static const struct range {
	uint32_t network;
	uint8_t bits;
} closed[] = {
	{ 0x00000000, 8 }, /* 0.0.0.0: this network */
	{ 0x0a000000, 8 }, /* 10.0.0.0: private */
	{ 0x64400000, 10 }, /* 100.64.0.0: shared (CGNAT) */
	{ 0x7f000000, 8 }, /* 127.0.0.0: loopback */
	{ 0xa9fe0000, 16 }, /* 169.254.0.0: link-local, and clouds' metadata */
	{ 0xac100000, 12 }, /* 172.16.0.0: private */
	{ 0xc0000000, 24 }, /* 192.0.0.0: IETF protocols */
	{ 0xc0000200, 24 }, /* 192.0.2.0: documentation */
	{ 0xc0a80000, 16 }, /* 192.168.0.0: private */
	{ 0xc6120000, 15 }, /* 198.18.0.0: benchmarks */
	{ 0xc6336400, 24 }, /* 198.51.100.0: documentation */
	{ 0xcb007100, 24 }, /* 203.0.113.0: documentation */
	{ 0xe0000000, 4 }, /* 224.0.0.0: multicast */
	{ 0xf0000000, 4 }, /* 240.0.0.0: reserved, and broadcast */
};

/* Global for all that: anycast addresses of PCP and TURN. */
static const struct range global[] = { { 0xc0000009, 32 }, { 0xc000000a, 32 } };

static bool is_in(const struct range *ranges, size_t count, struct in_addr address)
{
	for (size_t i = 0; i < count; i++)
		if (prefix_holds((struct in_addr){ htonl(ranges[i].network) }, ranges[i].bits,
				 address))
			return true;
	return false;
}

bool policy_is_closed(struct in_addr address)
{
	return is_in(closed, array_size(closed), address) &&
	       !is_in(global, array_size(global), address);
}

void policy_add_closed(struct policy *policy)
{
	for (size_t i = 0; i < array_size(global); i++)
		add_prefix(policy, global[i].network, global[i].bits, true, POLICY_WORLD);
	for (size_t i = 0; i < array_size(closed); i++)
		add_prefix(policy, closed[i].network, closed[i].bits, false,
			   POLICY_WORLD | POLICY_GUESTS);
	add_block(policy, POLICY_OUT | POLICY_IN, POLICY_GUESTS);
	add_block(policy, POLICY_OUT, POLICY_HOST);
}
