/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NAMES_H
#define NET_NAMES_H

/*
 * The talker's copy of the names that the policy allows, and what they mean
 * for the guest's DNS: which query is refused, and which answer's addresses the
 * filter has to know before the guest does.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"
#include "net/talker.h"

struct names {
	int keeper; /* socket: TALKER_NAMED and its answer */
	int sock; /* lists come from there */
	bool known; /* a list came: before that, ask nothing of what is below */
	struct talker_names list;
	char *items[POLICY_NAMES_MAX]; /* into list.names */
};

enum names_verdict {
	NAMES_PASS,
	NAMES_REFUSE, /* the policy does not allow the name */
	NAMES_FAIL, /* the filter does not know the addresses */
};

void names_init(struct names *names, int keeper, int sock);
/*
 * Take the lists that came; the last one counts. Return: false where the
 * keeper is gone or broke the protocol: nothing goes on then.
 */
bool names_refresh(struct names *names) must_use_;
/* May a query go to a resolver? @query: as dns_check_query() measured it. NAMES_PASS or _REFUSE. */
enum names_verdict names_judge_query(const struct names *names, struct slice query) must_use_;
/*
 * May @answer to @query (dns_is_answer() says so) go to the guest? By the list
 * that is current now; waits for the keeper, whose filter knows the addresses of
 * an allowed name when this returns NAMES_PASS.
 */
enum names_verdict names_judge_answer(struct names *names, struct slice query,
				      struct slice answer) must_use_;

#endif
