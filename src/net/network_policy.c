/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The policy of a guest that runs: replaced, its names' addresses opened and
 * closed, its drops counted. New flows are the kernel's business; here the open ones
 * are judged again when the rules that let them in have changed.
 */

#include "net/network.h"

#include <errno.h>

#include "base/clock.h"
#include "base/error.h"
#include "net/flows.h"
#include "net/nft.h"
#include "net/policy_index.h"
#include "net/remotes.h"

enum { DNS_PORT = 53, PROTOCOL_TCP = IPPROTO_TCP, PROTOCOL_UDP = IPPROTO_UDP };

/* A review of the guest's open flows. */
struct review {
	struct network *net;
	struct remotes remotes;
	struct policy_index index;
};

static void review_release(struct review *r)
{
	remotes_release(&r->remotes);
	policy_index_release(&r->index);
}
#define auto_review cleanup_(review_release) struct review

static struct policy_flow from_guest(struct review *r, const struct flow *flow, bool out)
{
	struct policy_flow f = {
		.direction = out ? POLICY_OUT : POLICY_IN,
		.protocol = flow->protocol,
		.remote = out ? flow->target : flow->source,
		.guest = out ? flow->source : flow->target,
		.remote_port = out ? flow->target_port : flow->source_port,
		.guest_port = out ? flow->source_port : flow->target_port,
	};

	f.kind = remotes_kind(&r->remotes, f.remote);
	f.named = granted_has(&r->net->granted, f.remote);
	return f;
}

static bool is_dns(const struct network *net, const struct flow *flow)
{
	return flow->asked.s_addr == net->guest.gateway.s_addr && flow->asked_port == DNS_PORT &&
	       (flow->protocol == PROTOCOL_UDP || flow->protocol == PROTOCOL_TCP);
}

/*
 * flows_judge: would the filter of now not open it? From the world nobody reaches a guest, but
 * while the filter was gone.
 */
static bool is_refused(void *arg, const struct flow *flow)
{
	struct review *r = arg;
	bool out = flow->source.s_addr == r->net->guest.address.s_addr;
	struct policy_flow f;

	if (out && is_dns(r->net, flow))
		return false;
	r->remotes.broken = false;
	f = from_guest(r, flow, out);
	if (r->remotes.broken) /* what is not known goes */
		return true;
	return (!out && f.kind == POLICY_WORLD) || !policy_index_passes(&r->index, &f);
}

int network_cut_flows(struct network *net, struct error *err)
{
	auto_review r = { .net = net, .remotes = REMOTES_INIT(&net->nl) };
	int code;

	policy_index_make(&r.index, &net->policy);
	code = flows_review(&net->netfilter, net->guest.address, is_refused, &r, err);
	return code < 0 ? code : 0;
}

/* Addresses of names that @policy does not have are taken out by @batch. */
static void remove_names(const struct network *net, const struct policy *policy,
			 struct nft_batch *batch)
{
	for (size_t i = 0; i < net->granted.count; i++)
		if (!granted_by(&net->granted, i, &policy->names))
			rules_remove_named(batch, net->guest.name, net->granted.items[i].address);
}

static void forget_names(struct network *net)
{
	for (size_t i = net->granted.count; i-- > 0;)
		if (!granted_by(&net->granted, i, &net->policy.names))
			granted_remove(&net->granted, i);
}

static struct nft_batch batch_of(struct network *net)
{
	struct nft_batch batch;

	nft_batch_init(&batch, &net->netfilter, RULES_FAMILY, RULES_TABLE);
	return batch;
}

static int apply(struct nft_batch *batch, struct error *err)
{
	auto_fd lock = -1;

	/* a guest's lookup of a name must not wait for nothing */
	if (nft_batch_is_empty(batch))
		return 0;
	lock = network_lock(err);
	return lock < 0 ? lock : nft_batch_commit(batch, err);
}

int network_set_policy(struct network *net, struct policy *policy, struct error *err)
{
	auto_nft_batch batch = batch_of(net);
	int r;

	remove_names(net, policy, &batch);
	rules_set_policy(&batch, net->guest.name, policy);
	r = apply(&batch, err);
	if (r < 0)
		return r;
	policy_release(&net->policy);
	net->policy = *policy;
	*policy = (struct policy)POLICY_INIT;
	forget_names(net);
	return 0;
}

/* What a name may open: never the host's own or what a default closes. */
static int may_open(struct network *net, struct in_addr address, struct error *err)
{
	struct rtnl_route route;
	int r;

	if (policy_is_closed(address))
		return 0;
	r = rtnl_find_route(&net->nl, address, &route, err);
	return r < 0 ? r : !(r > 0 && route.local);
}

int network_grant(struct network *net, size_t name, const struct in_addr *addresses, size_t count,
		  uint32_t ttl, struct error *err)
{
	size_t before = net->granted.count;
	struct error refused = ERROR_INIT;
	auto_nft_batch batch = batch_of(net);
	bool full;
	int r = 1;

	for (size_t i = 0; r >= 0 && i < count; i++) {
		r = may_open(net, addresses[i], err);
		if (r > 0)
			r = granted_add(&net->granted, net->policy.names.items[name], addresses[i],
					ttl, clock_ms());
		if (r > 0)
			rules_add_named(&batch, net->guest.name, addresses[i]);
	}
	full = r == -ENOSPC;
	if ((r >= 0 || full) && apply(&batch, &refused) == 0)
		return !full;
	net->granted.count = before; /* what the filter does not have is not granted */
	return r < 0 && !full ? r : 0;
}

/* Which granted addresses are in use? */
struct use {
	const struct granted *granted;
	bool used[GRANTED_MAX];
};

/* flows_judge that forgets nothing. */
static bool note_use(void *arg, const struct flow *flow)
{
	struct use *use = arg;

	for (size_t i = 0; i < use->granted->count; i++)
		if (use->granted->items[i].address.s_addr == flow->target.s_addr ||
		    use->granted->items[i].address.s_addr == flow->source.s_addr)
			use->used[i] = true;
	return false;
}

int network_open_filter(struct network *net, struct error *err)
{
	uint32_t max = 0;
	int r = netfilter_open(&net->netfilter, err);

	if (r == 0)
		r = flows_room(&net->netfilter, &max, err);
	net->guest.bound = rules_bound_of(max);
	return r;
}

int network_expire(struct network *net, struct error *err)
{
	struct use use = { .granted = &net->granted };
	uint64_t now = clock_ms();
	auto_nft_batch batch = batch_of(net);

	if (flows_review(&net->netfilter, net->guest.address, note_use, &use, err) < 0)
		return -err->code;
	for (size_t i = net->granted.count; i-- > 0;) {
		struct grant *g = &net->granted.items[i];

		if (g->until > now)
			continue;
		if (use.used[i]) {
			g->until = now + GRANTED_LIFE_MS;
			continue;
		}
		rules_remove_named(&batch, net->guest.name, g->address);
		granted_remove(&net->granted, i);
	}
	return apply(&batch, err);
}

static int count_one(const struct network *net, enum rules_drop which, uint64_t *drops,
		     struct error *err)
{
	auto_str ask = STR_INIT, answer = STR_INIT;
	int r;

	rules_list_drops(&ask, net->guest.name, which);
	r = nft_run(&ask, -1, &answer, err);
	if (r == 0)
		*drops = rules_read_drops(answer.ptr);
	return r;
}

int network_count(const struct network *net, struct net_drops *drops, struct error *err)
{
	int r = count_one(net, RULES_DROP_GATE, &drops->gate, err);

	if (r == 0)
		r = count_one(net, RULES_DROP_OUT, &drops->out, err);
	return r < 0 ? r : count_one(net, RULES_DROP_IN, &drops->in, err);
}
