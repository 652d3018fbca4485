/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_BRIDGED_PARTS_H
#define NET_BRIDGED_PARTS_H

/* What the files bridged*.c have in common, and nobody else uses. */

#include "net/bridged.h"
#include "net/rules_bridged.h"

struct bridged_mac {
	char text[18];
};

struct bridged_mac bridged_mac_text(const uint8_t m[6]);
/* The card as the rules know it. */
struct rules_card bridged_rules_card(const struct bridged *card);
/* The alias of its tap as it is with @address (0: none). Owned by the caller. */
char *bridged_alias(const struct bridged *card, struct in_addr address) must_use_;
/* The way of the host's to the guest, if there can be one. Right where it is there already. */
int bridged_add_host_route(struct bridged *card, struct error *err) must_use_;
/* The ways through the host's firewall (net/doors.h) that fit its address. */
int bridged_open_doors(const struct bridged *card, int lock, struct error *err) must_use_;
/* Append its rules to @copy. Errors: E_INVALID for rules about names, which no bridged card has. */
int bridged_copy_policy(const struct policy *policy, struct policy *copy,
			struct error *err) must_use_;

#endif
