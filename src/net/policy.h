/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_POLICY_H
#define NET_POLICY_H

/*
 * What a guest may reach and who may reach it: the one model into which
 * Softnet's lists (net/softnet.h), Anka's rule text (net/filter_text.h) and the
 * modes themselves compile, and from which the kernel's filter is generated
 * (net/rules.h).
 *
 * Theory of operation
 *
 * A policy is a list of rules in stages. A new flow has to pass every stage; in
 * a stage the first rule that matches decides, and what no rule matches
 * passes. So neither root's file nor the VM's own can open what the other, or
 * the mode, closes. Answers belong to their flow and are never judged.
 *
 * A rule looks at a flow from the guest: "out" was opened by the guest, "in" by
 * the other end; "remote" is the other end. Three kinds of remotes are told
 * apart by where the packet really goes, not by its address: the host (all
 * addresses that it owns), other guests (behind our taps), and the world.
 *
 * What is not a rule, since no policy can change it: the gate (the guest's own
 * MAC and address), DHCP, DNS to the gateway, and that nothing outside opens
 * a connection to a guest but through expose.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/vec.h"

struct error;

enum {
	POLICY_RULES_MAX = 8224, /* of a policy, after compiling */
	POLICY_TARGETS_MAX = 4096, /* of both lists together, or of one rule text */
	POLICY_NAMES_MAX = 1024,
	POLICY_NAME_MAX = 255, /* bytes, with the "*." and without a terminator */
};

enum policy_stage { POLICY_HOST_WIDE, POLICY_OWN, POLICY_MODE, POLICY_STAGES };
enum policy_direction { POLICY_OUT = 1, POLICY_IN = 2 }; /* bits */
enum policy_remote { POLICY_WORLD = 1, POLICY_HOST = 2, POLICY_GUESTS = 4, POLICY_ALL = 7 };

/* Inclusive; 0 to 65535 is any, also for what has no ports. */
struct policy_ports {
	uint16_t first, last;
};

/* One rule, in the fixed form in which it travels to the keeper. */
struct policy_rule {
	uint8_t stage; /* enum policy_stage */
	uint8_t pass; /* 1: pass, 0: block */
	uint8_t directions; /* bits of enum policy_direction */
	uint8_t remotes; /* bits of enum policy_remote */
	uint8_t protocol; /* IPPROTO_*; 0: any; with ports: TCP and UDP */
	uint8_t named; /* 1: remote addresses that the policy's names gave; 0: any of the prefix */
	uint8_t remote_prefix, guest_prefix; /* bits */
	struct in_addr remote, guest; /* network byte order, host bits zero */
	struct policy_ports remote_ports, guest_ports;
};
_Static_assert(sizeof(struct policy_rule) == 24, "no padding: it travels as it is");

/* Any flow in both directions, passed, stage MODE: to be narrowed. */
#define POLICY_RULE_INIT                                                                   \
	{                                                                                  \
		.stage = POLICY_MODE, .pass = 1, .directions = POLICY_OUT | POLICY_IN,     \
		.remotes = POLICY_ALL, .remote_ports = { 0, UINT16_MAX }, .guest_ports = { \
			0,                                                                 \
			UINT16_MAX                                                         \
		}                                                                          \
	}

DEFINE_VEC(policy_rules, struct policy_rule)

struct policy {
	struct policy_rules rules; /* ordered by stage */
	struct strings names; /* lower case: "example.org", "*.example.org" (those below it) */
	bool names_only; /* the DNS relay refuses every other name */
};
#define POLICY_INIT                                  \
	{                                            \
		.rules = VEC_INIT, .names = VEC_INIT \
	}
void policy_release(struct policy *policy);
#define auto_policy cleanup_(policy_release) struct policy

/* A new flow, seen from the guest. */
struct policy_flow {
	enum policy_direction direction;
	enum policy_remote kind;
	uint8_t protocol; /* IPPROTO_* */
	bool named; /* the remote's address was given by one of the policy's names */
	struct in_addr remote, guest;
	uint16_t remote_port, guest_port; /* host byte order; 0 where it has none */
};

/* Does the rule match the flow? */
bool policy_rule_matches(const struct policy_rule *rule, const struct policy_flow *flow);
/* Would the flow be opened? By the letter: policy_index.h is quicker. */
bool policy_passes(const struct policy *policy, const struct policy_flow *flow);

/*
 * Are these rules of the form that this file describes: known values, stages in
 * order, no host bits beyond the prefix, ports in order and of TCP or UDP, at most
 * POLICY_RULES_MAX? And the names? Return: 0 or -E_INVALID.
 */
int policy_check(const struct policy *policy, struct error *err) must_use_;

/* Is it a name of the form above (RFC 1123 labels, "_" allowed, a letter in the last, no final dot,
 * at most one leading "*.")? */
bool policy_is_name(const char *name);
/* Does @name (lower case, no final dot) match one of the policy's names? Return: its index, or -1.
 */
int policy_find_name(const struct strings *names, const char *name);

/* The rules that a mode itself has, stage MODE, at the end of @policy. */
enum net_mode { NET_SHARED = 1, NET_SOFTNET, NET_HOST, NET_BRIDGED, NET_MODE_MAX };
/* SHARED: no other guests, no link-local beyond the host (RFC 3927 section 7). HOST: the host
 * alone, and no names. BRIDGED: nothing. SOFTNET: softnet_compile() does it. */
void policy_add_mode(struct policy *policy, enum net_mode mode);
/* No other guest and no host, both directions (Anka's --no-local): in front of stage OWN, so that
 * no rule of the VM's own passes one. Call it before policy_add_mode(). */
void policy_add_no_local(struct policy *policy);

/* What no default lets a guest reach: private, shared (CGNAT), link-local, multicast, reserved and
 * documentation space (companions.md A.4). Is the address in one of them? */
bool policy_is_closed(struct in_addr address);
/* Softnet's default, stage MODE: those ranges and other guests closed in both directions, the host
 * to what the guest opens. */
void policy_add_closed(struct policy *policy);

#endif
