/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_FILTER_TEXT_H
#define NET_FILTER_TEXT_H

/*
 * Filter rules as text: Anka's language (companions.md B.3), itself modelled on
 * ipf.conf, but the first match wins. One rule a line:
 *
 *   rule  := ( "pass" | "block" ) [ "quick" ] [ "in" | "out" | "any" ]
 *            [ "proto" PROTO ] [ "from" ADDR [ PORTS ] ] [ "to" ADDR [ PORTS ] ]
 *          | ( "pass" | "block" ) ( "any" | "local" )
 *   ADDR  := IPv4 | CIDR | "any" | "all"           absent before "port"
 *   PORTS := "port" N [ "-" N ]
 *   PROTO := "tcp" | "udp" | "tcp/udp" | "icmp" | 0-255
 *
 * "from" and "to" stand in either order; "#" begins a comment. From and to are
 * meant as in the packet that opens the flow: for "out" from is the guest, for "in" the
 * other end. "local" is the host and the other guests. What no rule matches passes.
 */

#include "base/str.h"
#include "net/policy.h"

enum { FILTER_TEXT_MAX = 1024 * 1024 }; /* bytes */

/*
 * Append the rules of @text to @policy as @stage.
 * Errors: E_INVALID "line L, column C: ...", E_TOO_BIG for a text beyond
 * FILTER_TEXT_MAX or POLICY_TARGETS_MAX rules.
 */
int filter_text_parse(struct slice text, enum policy_stage stage, struct policy *policy,
		      struct error *err) must_use_;

#endif
