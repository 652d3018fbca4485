/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_FILTER_TEXT_H
#define NET_FILTER_TEXT_H

/*
 * Filter rules as text: Anka's language (companions.md B.3), itself modelled on
 * ipf.conf, but the first match wins. One rule a line:
 *
 *   rule  := ( "pass" | "block" ) [ "quick" ] [ "in" | "out" | "any" ] [ "quick" ]
 *            [ "proto" PROTO ] [ "from" ADDR [ PORTS ] ] [ "to" ADDR [ PORTS ] ]
 *          | ( "pass" | "block" ) "local"
 *   ADDR  := IPv4 | CIDR | "any" | "all"           absent before "port"
 *   PORTS := "port" N [ "-" N ]                     1 to 65535, of TCP and UDP
 *   PROTO := "tcp" | "udp" | "tcp/udp" | "icmp" | 1-255
 *
 * "from" and "to" stand in either order; "#" begins a comment. From and to are
 * meant as in the packet that opens the flow: for "out" from is the guest, for
 * "in" the other end; without a direction, or with "any", a rule is about both.
 * "quick" says what is so anyway. "local" is the host and the other guests; a
 * prefix is the host, guests and the world alike. What no rule matches passes.
 *
 * ASCII, lines ended by LF or CRLF.
 */

#include "base/str.h"
#include "net/policy.h"

enum { FILTER_TEXT_MAX = 1024 * 1024 }; /* bytes */

/*
 * Append the rules of @text to @policy as @stage: up to four for one of the text.
 * Errors: E_INVALID "line L, column C: ...", E_TOO_BIG for a text beyond
 * FILTER_TEXT_MAX, POLICY_TARGETS_MAX rules or a policy of POLICY_RULES_MAX.
 * @policy is unchanged then.
 */
int filter_text_parse(struct slice text, enum policy_stage stage, struct policy *policy,
		      struct error *err) must_use_;

#endif
