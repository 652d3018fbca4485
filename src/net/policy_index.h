/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_POLICY_INDEX_H
#define NET_POLICY_INDEX_H

/*
 * A policy made quick to ask, for whoever judges many flows at once: a guest may have 32,768 open
 * ones, root's file 8,224 rules and the VM as many, and what the policy forbids has to be cut at
 * once.
 */

#include "net/policy.h"

struct policy_index {
	const struct policy *policy;
	/* A table of the prefixes that have rules, by stage and prefix: the first rule of each. */
	uint16_t *first;
	size_t mask; /* places in it less one */
	uint16_t *next; /* of each rule: the next one of the same stage and prefix */
	uint64_t lengths[POLICY_STAGES]; /* bit n: the stage has prefixes of n bits */
};
#define POLICY_INDEX_INIT      \
	{                      \
		.policy = NULL \
	}

/*
 * Index @policy: root's rules and a VM's, each of which policy_check() found right. It stays as it
 * is until the release.
 */
void policy_index_make(struct policy_index *index, const struct policy *policy);
void policy_index_release(struct policy_index *index);
#define auto_policy_index cleanup_(policy_index_release) struct policy_index

/* What policy_passes() says, after a look at each length of a prefix instead of at each rule. */
bool policy_index_passes(const struct policy_index *index, const struct policy_flow *flow);

#endif
