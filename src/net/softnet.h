/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_SOFTNET_H
#define NET_SOFTNET_H

/*
 * Softnet's --allow and --block lists (companions.md A.4, A.6, A.12) and the
 * names that Linzer adds, compiled into the policy's stage MODE.
 *
 *   target := [ "in" | "out" ] ( "@host" | CIDR [ ":" PORT [ "-" PORT ] ] | NAME )
 *
 * Commas separate targets. An address alone is a /32. The ports are the
 * remote's in both directions, as Softnet has it. "from" and "to" are older
 * words for "in" and "out".
 *
 * A rule with ports comes before one without, then the longest prefix, then
 * block before allow. After the rules of one or more bits of prefix come the
 * names' addresses, then 0.0.0.0/0, then what is closed by default; the rest of
 * the world is open. A bare target is about what the guest opens, and about
 * what other guests open to it; as soon as one target has a direction, it is
 * about both. A name is about what the guest opens. The host is meant by
 * "@host" (all its addresses) or by one of its addresses as a /32, never by a
 * prefix that covers it; such a /32 outranks "@host".
 */

#include "base/attr.h"

struct error;
struct policy;
struct strings;

/*
 * Append the rules, names and names_only that @allow and @block mean. Host bits
 * beyond a prefix are cleared, duplicates are one rule.
 * Errors: E_INVALID with the target and what is wrong with it, E_TOO_BIG beyond
 * POLICY_TARGETS_MAX targets or POLICY_NAMES_MAX names.
 */
int softnet_compile(const struct strings *allow, const struct strings *block, struct policy *policy,
		    struct error *err) must_use_;

#endif
