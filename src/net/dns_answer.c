/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dns_answer.h"

#include <string.h>

#include "net/dns.h"
#include "net/frame.h"

enum {
	LABEL_MAX = 63,
	POINTER = 0xc0,
	POINTER_SIZE = 2,
	OFFSET = 0x3fff, /* of a pointer's 16 bits */
	POINTERS_MAX = 128, /* of one name: one for each label is all that servers need */
	QUESTION_REST = 4, /* type and class */
	RECORD_FIXED = 10, /* type, class, TTL, length */
	TYPE_A = 1,
	TYPE_CNAME = 5,
	CLASS_IN = 1,
};

struct record {
	size_t owner, data; /* where they begin in the message */
	uint16_t type, class, len;
	uint32_t ttl;
};

/* A name, walked label by label. */
struct walk {
	size_t at;
	size_t floor; /* the next pointer leads to before this */
	unsigned len, pointers;
};

/* Follow the pointer at w->at. Return: false where it is none that is allowed. */
static bool follow(struct slice m, struct walk *w)
{
	size_t to;

	if (m.ptr[w->at] < POINTER || m.len - w->at < POINTER_SIZE || ++w->pointers > POINTERS_MAX)
		return false;
	to = frame_get16(m.ptr + w->at) & OFFSET;
	if (to < DNS_HEADER || to >= w->floor)
		return false;
	w->at = w->floor = to;
	return true;
}

/* The next label, its length byte first (0: the end); empty: malformed. */
static struct slice next_label(struct slice m, struct walk *w)
{
	struct slice label = { NULL, 0 };

	while (w->at < m.len && m.ptr[w->at] > LABEL_MAX)
		if (!follow(m, w))
			return label;
	if (w->at >= m.len || m.ptr[w->at] >= m.len - w->at)
		return label;
	label = (struct slice){ m.ptr + w->at, 1U + m.ptr[w->at] };
	w->at += label.len;
	w->len += (unsigned)label.len;
	return w->len > DNS_NAME_MAX ? (struct slice){ NULL, 0 } : label;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

static bool same_label(struct slice a, struct slice b)
{
	if (a.len != b.len)
		return false;
	/* a length byte is at most 63: not a letter */
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.ptr[i]) != lower(b.ptr[i]))
			return false;
	return true;
}

/* A malformed name is the same as none, itself included. */
static bool same_name(struct slice m, size_t a, size_t b)
{
	struct walk left = { .at = a, .floor = a }, right = { .at = b, .floor = b };

	for (;;) {
		struct slice one = next_label(m, &left), other = next_label(m, &right);

		if (one.len == 0 || !same_label(one, other))
			return false;
		if (one.len == 1)
			return true;
	}
}

/* Behind the name at @at, whose pointer is not followed. 0: malformed. */
static size_t skip_name(struct slice m, size_t at)
{
	while (at < m.len && m.ptr[at] != 0 && m.ptr[at] <= LABEL_MAX)
		at += 1U + m.ptr[at];
	if (at >= m.len)
		return 0;
	if (m.ptr[at] == 0)
		return at + 1;
	return m.ptr[at] >= POINTER && m.len - at >= POINTER_SIZE ? at + POINTER_SIZE : 0;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)frame_get16(p) << 16 | frame_get16(p + 2);
}

/* Read the record at *at, and move *at behind it. */
static bool read_record(struct slice m, size_t *at, struct record *r)
{
	size_t fixed = skip_name(m, *at);

	if (fixed == 0 || m.len - fixed < RECORD_FIXED)
		return false;
	r->owner = *at;
	r->type = frame_get16(m.ptr + fixed);
	r->class = frame_get16(m.ptr + fixed + 2);
	r->ttl = get32(m.ptr + fixed + 4);
	r->len = frame_get16(m.ptr + fixed + 8);
	r->data = fixed + RECORD_FIXED;
	if (r->len > m.len - r->data)
		return false;
	*at = r->data + r->len;
	return true;
}

static void use_ttl(struct dns_addresses *out, uint32_t ttl)
{
	if (ttl > INT32_MAX) /* RFC 2181, section 8 */
		ttl = 0;
	if (ttl < out->ttl)
		out->ttl = ttl;
}

static void add_address(struct dns_addresses *out, const struct record *r, const uint8_t *bytes)
{
	struct in_addr address;

	memcpy(&address, bytes, sizeof(address));
	use_ttl(out, r->ttl);
	for (unsigned i = 0; i < out->count; i++)
		if (out->items[i].s_addr == address.s_addr)
			return;
	if (out->count < DNS_ADDRESSES_MAX)
		out->items[out->count++] = address;
}

/* The records of the name at @name. Return: where the name of its CNAME stands, 0: it has none. */
static size_t read_records_of(struct slice m, size_t name, struct dns_addresses *out)
{
	size_t at = skip_name(m, DNS_HEADER) + QUESTION_REST, alias = 0;
	unsigned count = frame_get16(m.ptr + 6);
	struct record r;

	for (; count > 0 && read_record(m, &at, &r); count--) {
		if (r.class != CLASS_IN || (r.type != TYPE_A && r.type != TYPE_CNAME) ||
		    !same_name(m, r.owner, name))
			continue;
		if (r.type == TYPE_A && r.len == sizeof(struct in_addr))
			add_address(out, &r, m.ptr + r.data);
		if (r.type == TYPE_CNAME && skip_name(m, r.data) == at) {
			use_ttl(out, r.ttl);
			alias = r.data;
		}
	}
	return alias;
}

void dns_answer_addresses(struct slice answer, struct dns_addresses *out)
{
	size_t name = DNS_HEADER;

	out->ttl = INT32_MAX;
	out->count = 0;
	if (answer.len > DNS_LOOKED_AT_MAX)
		answer.len = DNS_LOOKED_AT_MAX;
	for (unsigned i = 0; name != 0 && i <= DNS_CNAMES_MAX; i++)
		name = read_records_of(answer, name, out);
}
