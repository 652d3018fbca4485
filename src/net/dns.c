/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dns.h"

#include "net/frame.h"

enum {
	LABEL_MAX = 63,
	ADDITIONAL_MAX = 2,
	CLASS_IN = 1,
	FLAG_ANSWER = 0x80, /* of byte 2 */
	OPCODE = 0x78,
	FLAG_TRUNCATED = 0x02,
	FLAG_RECURSION_AVAILABLE = 0x80, /* of byte 3 */
};

uint16_t dns_id(const uint8_t *message)
{
	return frame_get16(message);
}

void dns_set_id(uint8_t *message, uint16_t id)
{
	frame_put16(message, id);
}

static uint16_t count(struct slice m, unsigned section)
{
	return frame_get16(m.ptr + 4 + 2 * section);
}

/* Behind the name at @at: no compression, a query has nothing to point to. 0: malformed. */
static size_t skip_name(struct slice m, size_t at)
{
	size_t start = at;

	while (at < m.len && m.ptr[at] != 0) {
		if (m.ptr[at] > LABEL_MAX)
			return 0;
		at += 1U + m.ptr[at];
	}
	if (at >= m.len || at + 1 - start > DNS_NAME_MAX)
		return 0;
	return at + 1;
}

/* Behind the record at @at, 0: malformed. */
static size_t skip_record(struct slice m, size_t at)
{
	at = skip_name(m, at);
	if (at == 0 || m.len - at < 10)
		return 0;
	at += 10;
	if (m.len - at < frame_get16(m.ptr + at - 2))
		return 0;
	return at + frame_get16(m.ptr + at - 2);
}

size_t dns_check_query(struct slice m)
{
	size_t question, at;

	if (m.len < DNS_HEADER || m.len > DNS_QUERY_MAX)
		return 0;
	if ((m.ptr[2] & (FLAG_ANSWER | OPCODE | FLAG_TRUNCATED)) || count(m, 0) != 1 ||
	    count(m, 1) != 0 || count(m, 2) != 0 || count(m, 3) > ADDITIONAL_MAX)
		return 0;
	at = skip_name(m, DNS_HEADER);
	if (at == 0 || m.len - at < 4 || frame_get16(m.ptr + at + 2) != CLASS_IN)
		return 0;
	question = at += 4;
	for (unsigned i = 0; i < count(m, 3); i++) {
		at = skip_record(m, at);
		if (at == 0)
			return 0;
	}
	return at == m.len ? question : 0;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

bool dns_is_answer(struct slice m, uint16_t id, struct slice query)
{
	if (m.len < query.len || dns_id(m.ptr) != id || !(m.ptr[2] & FLAG_ANSWER) ||
	    count(m, 0) != 1)
		return false;
	/* a length byte is at most 63: not a letter */
	for (size_t i = DNS_HEADER; i < query.len; i++)
		if (lower(m.ptr[i]) != lower(query.ptr[i]))
			return false;
	return true;
}

static bool is_of_host_name(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool dns_question_name(struct slice query, char name[DNS_NAME_MAX])
{
	const uint8_t *p = query.ptr + DNS_HEADER;
	size_t len = 0;

	for (unsigned label = *p++; label != 0; label = *p++) {
		if (len)
			name[len++] = '.';
		for (; label > 0; label--, p++) {
			if (!is_of_host_name(lower(*p)))
				return false;
			name[len++] = (char)lower(*p);
		}
	}
	name[len] = '\0';
	return len > 0;
}

void dns_make_error(uint8_t *query, enum dns_error error)
{
	query[2] = (uint8_t)(query[2] | FLAG_ANSWER);
	query[3] = (uint8_t)(FLAG_RECURSION_AVAILABLE | (unsigned)error);
	query[10] = query[11] = 0;
}
