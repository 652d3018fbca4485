/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DNS_H
#define NET_DNS_H

/*
 * What the relay must know of DNS (RFC 1035): which bytes are one query, and
 * which are the answer to it. Nothing is decoded beyond that.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum {
	DNS_HEADER = 12,
	DNS_QUERY_MAX = 1024,
	DNS_MESSAGE_MAX = 65535,
};

/*
 * Is @message one standard query: one question, no answer, at most two
 * additional records (EDNS, a signature), nothing behind them?
 * Return: the length of header and question, 0 where it is not.
 */
size_t dns_check_query(struct slice message) must_use_;
/* Is @message an answer with number @id to the question of @query (its checked part)? */
bool dns_is_answer(struct slice message, uint16_t id, struct slice query) must_use_;

uint16_t dns_id(const uint8_t *message);
void dns_set_id(uint8_t *message, uint16_t id);
/* Turn the checked part of a query into the answer "server failure". */
void dns_make_failure(uint8_t *query);

#endif
