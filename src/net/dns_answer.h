/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DNS_ANSWER_H
#define NET_DNS_ANSWER_H

/*
 * The addresses that an answer gives to the name that was asked for (RFC 1035,
 * sections 3.2 and 4.1).
 *
 * An answer is a resolver's, who may be hostile or carry what a hostile server
 * said. Nothing in it can take long or lead outside of it: a name's pointers
 * lead backwards, each further than the one before, and are counted; so are
 * the CNAMEs that are followed; a record that does not fit ends the reading.
 */

#include <netinet/in.h>
#include <stdint.h>

#include "base/str.h"

enum {
	/* of one answer; what is beyond is not looked at */
	DNS_ADDRESSES_MAX = 256,
	DNS_CNAMES_MAX = 16,
	DNS_LOOKED_AT_MAX = 16 * 1024, /* bytes */
};

struct dns_addresses {
	uint32_t ttl; /* seconds, the smallest of the records used */
	unsigned count;
	struct in_addr items[DNS_ADDRESSES_MAX]; /* each once */
};

/*
 * Collect into @out from the answer section the A records whose owner is the question's
 * name or what CNAMEs lead to from it, in whatever order they stand.
 * @answer is one for dns_is_answer(), and may be cut anywhere behind the
 * question.
 */
void dns_answer_addresses(struct slice answer, struct dns_addresses *out);

#endif
