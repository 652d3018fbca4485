/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DNS_H
#define NET_DNS_H

/*
 * What the relay must know of DNS (RFC 1035): which bytes are one query, what
 * it asks for, and which bytes are the answer to it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum {
	DNS_HEADER = 12,
	DNS_NAME_MAX = 255, /* bytes in a message; a text is shorter */
	DNS_QUESTION_MAX = DNS_HEADER + DNS_NAME_MAX + 4, /* a query's checked part */
	DNS_QUERY_MAX = 1024,
	DNS_MESSAGE_MAX = 65535,
};

enum dns_error { DNS_FAILURE = 2, DNS_REFUSED = 5 };

/*
 * Is @message one standard query of class IN: one question, no answer, at most
 * two additional records (EDNS, a signature), nothing behind them?
 * Return: the length of header and question, 0 where it is not.
 */
size_t dns_check_query(struct slice message) must_use_;
/* Is @message an answer with number @id to the question of @query (its checked part)? */
bool dns_is_answer(struct slice message, uint16_t id, struct slice query) must_use_;
/*
 * The name that @query (checked) asks for, as text in lower case without a
 * final dot. Return: false where it is not made of letters, digits, "-" and
 * "_" alone: a dot within a label would make it look like another name.
 */
bool dns_question_name(struct slice query, char name[DNS_NAME_MAX]) must_use_;

uint16_t dns_id(const uint8_t *message);
void dns_set_id(uint8_t *message, uint16_t id);
/* Turn the checked part of a query into the answer @error. */
void dns_make_error(uint8_t *query, enum dns_error error);

#endif
