/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_NETWORK_H
#define RUN_NETWORK_H

/*
 * The network of a running VM: one keeper (net/helper.h) for each card, and the
 * policy that all of them keep.
 *
 * Theory of operation
 *
 * What is asked of the keepers is a job: another policy, or the counters. Jobs
 * wait in a queue and are done one after the other, since a keeper says nothing of what
 * it answers. A job is sent to every card at once and is done when the last has
 * answered. Where a card refuses a policy that another has taken, that other gets the old one
 * back, so all or none of them have changed when the asker hears of it. A keeper
 * that does not even take the old one back is as good as gone.
 *
 * A keeper that hangs delays the queue for ever, but not `run`: nothing waits here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"
#include "machine/plan.h"
#include "net/helper.h"
#include "run/caretaker.h"
#include "store/config.h"

enum { NETWORK_JOBS_MAX = 64 };

/* What a policy is made of. */
struct network_rules {
	struct strings allow, block; /* Softnet's targets, one each; NET_SOFTNET only */
	struct str filter; /* text (net/filter_text.h) */
	bool no_local;
};
#define NETWORK_RULES_INIT                                               \
	{                                                                \
		.allow = VEC_INIT, .block = VEC_INIT, .filter = STR_INIT \
	}
void network_rules_release(struct network_rules *rules);
#define auto_network_rules cleanup_(network_rules_release) struct network_rules

/*
 * Compile them for @mode into the empty @policy. @filter_name: what an error in the filter's text
 * is told of, before ": line L, column C: ...". Errors: E_INVALID, E_TOO_BIG.
 */
int network_compile(int mode, const struct network_rules *rules, const char *filter_name,
		    struct policy *policy, struct error *err) must_use_;
const char *network_mode_name(int mode); /* "shared", ...; 0: "none" */

struct network;
struct network_job;
struct vm;

struct network_card {
	struct network *network;
	struct net_link link;
	int tap; /* of a card that another process may keep (run/caretaker.h); 0: none */
	struct net_start start; /* what was asked for, and what came of it */
	struct net_message started;
	uv_poll_t poll;
	struct mac mac;
	struct in_addr address; /* 0: none, or not seen yet (bridged) */
	bool leased;
	char interface[NET_NAME_MAX]; /* where the host sees the guest: the tap, bridge or macvlan
				       */
	char parent[NET_NAME_MAX]; /* bridged: the bridge or interface */
	struct net_drops drops; /* as of the last count */
	enum { CARD_IDLE, CARD_ASKED, CARD_DONE, CARD_REFUSED } state;
};

/* The end of a job. @r: 0, or an error with @err. May be called before the call that began it
 * returns. */
typedef void (*network_done_fn)(void *arg, int r, const struct error *err);

struct network_events {
	void (*leased)(void *arg, const struct network_card *card); /* it uses .address */
	void (*gone)(void *arg); /* a keeper has ended, or is not to be trusted: once or more */
	void *arg;
};

struct network {
	int mode; /* enum net_mode; 0: no card */
	struct network_rules rules; /* in force */
	struct policy policy; /* made of them */
	struct net_exposed exposed[NET_EXPOSED_MAX];
	unsigned exposed_count;
	bool isolated; /* see struct runtime */
	bool bypassed; /* the VM has a vsock, which leads past any rule: none is taken */
	struct network_card cards[PLAN_NICS_MAX];
	size_t card_count; /* that are started */
	struct network_events events;
	struct network_job *jobs; /* the first is being done */
	size_t job_count;
	struct caretaker caretaker;
};
#define NETWORK_INIT                                                                             \
	{                                                                                        \
		.rules = NETWORK_RULES_INIT, .policy = POLICY_INIT, .caretaker = CARETAKER_INIT, \
	}

/*
 * Start the keeper of the next card with the network's mode, ports and policy. @card's mac and
 * parent are set; @wanted: the address it is to have, 0 any; @fixed: or none. *tap is the caller's.
 * Where @vm is not NULL, it was suspended, and what was kept of its network is taken if it is that.
 */
int network_start_card(struct network *network, const struct vm *vm, struct in_addr wanted,
		       bool fixed, int *tap, struct error *err) must_use_;
/* The next card, whose .link there is already, is @started, as @start asked for. @tap is copied. */
int network_add_card(struct network *network, const struct net_start *start,
		     const struct net_message *started, int tap, struct error *err) must_use_;
/* Listen to the keepers. */
int network_watch(struct network *network, uv_loop_t *loop, const struct network_events *events,
		  struct error *err) must_use_;
/*
 * Wait for the jobs' ends, outside of the loop, at most @limit_ms. Return: there is none left, and
 * no keeper owes an answer.
 */
bool network_settle(struct network *network, unsigned limit_ms);
/* Take all down; waits. Jobs end without a word. The loop has closed its handles. */
void network_stop(struct network *network);

/* What is to become another; what is NULL stays. */
struct rules_change {
	const struct strings *allow, *block; /* both or neither; NET_SOFTNET only */
	const struct str *filter;
};
/*
 * Make the change, all or nothing. It is copied; how it ended, also that it is malformed
 * (E_INVALID, E_TOO_BIG), @done is told. Errors, with which @done is not called: E_FAILED where
 * there is no card, or a vsock, or lists where the mode takes none, or more jobs than
 * NETWORK_JOBS_MAX.
 */
int network_change(struct network *network, const struct rules_change *change, network_done_fn done,
		   void *arg, struct error *err) must_use_;
/* Get the cards' .drops. */
int network_count(struct network *network, network_done_fn done, void *arg,
		  struct error *err) must_use_;
/* @arg has gone: its jobs go on, but nobody hears of their end. */
void network_forget(struct network *network, const void *arg);

#endif
