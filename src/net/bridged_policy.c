/* SPDX-License-Identifier: Apache-2.0 */

/* The policy of a bridged card that runs: replaced, and its drops counted. */

#include <arpa/inet.h>
#include <errno.h>

#include "base/error.h"
#include "net/bridged_parts.h"
#include "net/netdev_flows.h"
#include "net/network.h"
#include "net/nft.h"
#include "net/policy_index.h"

enum { CUT_TRIES = 20 };

int bridged_copy_policy(const struct policy *policy, struct policy *copy, struct error *err)
{
	for (size_t i = 0; i < policy->rules.len; i++) {
		if (policy->rules.items[i].named)
			return error_set(err, E_INVALID,
					 "a bridged card can have no rules about names");
		policy_rules_add(&copy->rules, policy->rules.items[i]);
	}
	return 0;
}

static bool is_host(const struct rtnl_addresses *hosts, struct in_addr address)
{
	for (size_t i = 0; i < hosts->len; i++)
		if (hosts->items[i].address.s_addr == address.s_addr)
			return true;
	return false;
}

/* Would the policy open it? */
static bool is_passed(const struct bridged *card, const struct policy_index *index,
		      const struct rtnl_addresses *hosts, const struct rules_flow *flow)
{
	const struct policy_flow f = {
		.direction = flow->direction,
		.kind = is_host(hosts, flow->remote) ? POLICY_HOST : POLICY_WORLD,
		.protocol = flow->protocol,
		.remote = flow->remote,
		.guest = card->address,
		.remote_port = flow->protocol == IPPROTO_ICMP ? 0 : flow->remote_port,
		.guest_port = flow->protocol == IPPROTO_ICMP ? 0 : flow->guest_port,
	};

	return policy_index_passes(index, &f);
}

/* Append the open flows that the policy would not open. */
static int find_refused(struct bridged *card, struct rules_flows *refused, struct error *err)
{
	cleanup_(rtnl_addresses_release) struct rtnl_addresses hosts = VEC_INIT;
	cleanup_(rules_flows_release) struct rules_flows flows = VEC_INIT;
	auto_policy_index index = POLICY_INDEX_INIT;
	int r = rtnl_list_addresses(&card->nl, &hosts, err);

	policy_index_make(&index, &card->policy);
	if (r == 0)
		r = netdev_flows_list(&card->netfilter, card->name, &flows, err);
	for (size_t i = 0; r == 0 && i < flows.len; i++)
		if (!is_passed(card, &index, &hosts, &flows.items[i]))
			rules_flows_add(refused, flows.items[i]);
	return r;
}

int bridged_set_policy(struct bridged *card, const struct policy *policy, struct error *err)
{
	struct rules_card rules = bridged_rules_card(card);
	auto_policy next = POLICY_INIT;
	auto_fd lock = network_lock(err);
	auto_str text = STR_INIT;
	int r = lock < 0 ? lock : bridged_copy_policy(policy, &next, err);

	if (r < 0)
		return r;
	rules_set_card_policy(&text, &rules, policy);
	r = nft_run(&text, lock, NULL, err);
	if (r < 0)
		return r;
	policy_release(&card->policy);
	card->policy = next;
	next = (struct policy)POLICY_INIT;
	return 0;
}

int bridged_cut_flows(struct bridged *card, struct error *err)
{
	struct rules_card rules = bridged_rules_card(card);
	auto_fd lock = network_lock(err);

	if (lock < 0)
		return lock;
	/* a packet that found its flow just before it was forgotten may have written it again */
	for (unsigned i = 0; i < CUT_TRIES; i++) {
		cleanup_(rules_flows_release) struct rules_flows refused = VEC_INIT;
		auto_str text = STR_INIT;
		int r = find_refused(card, &refused, err);

		if (r < 0 || refused.len == 0)
			return r;
		rules_cut_flows(&text, &rules, &refused);
		r = nft_run(&text, lock, NULL, err);
		if (r < 0)
			return r;
	}
	return error_set(err, E_FAILED, "flows that the policy forbids come back");
}

int bridged_count(const struct bridged *card, struct net_drops *drops, struct error *err)
{
	struct rules_card rules = bridged_rules_card(card);
	auto_str ask = STR_INIT, answer = STR_INIT;
	int r;

	rules_list_card_drops(&ask, &rules);
	r = nft_run(&ask, -1, &answer, err);
	if (r < 0)
		return r;
	rules_read_card_drops(answer.ptr, drops);
	return 0;
}
