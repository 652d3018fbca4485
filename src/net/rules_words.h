/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RULES_WORDS_H
#define NET_RULES_WORDS_H

/* The rules of a policy in nft's words, for a table of a bridged card. */

#include "base/str.h"
#include "net/rules_stage.h"

struct rules_words {
	struct str *text; /* the lines are added to it */
	const char *table; /* it has a set "ported" of TCP and UDP */
	const char *chain; /* it is there and empty */
	const char *block; /* chain that counts and drops */
	enum policy_direction direction;
};

/* A writer of one direction; @words outlives it. */
struct rules_writer rules_words_writer(struct rules_words *words);

#endif
