/* SPDX-License-Identifier: Apache-2.0 */
#include "net/learn.h"

#include <string.h>

#include "net/frame.h"

enum {
	MAC = 6,
	/* ARP: RFC 826 */
	AT_TYPE = 12,
	TYPE_ARP = 0x0806,
	AT_ARP = 14,
	AT_SENDER_MAC = AT_ARP + 8,
	AT_SENDER = AT_ARP + 14,
	ARP_SIZE = AT_ARP + 28,
	/* DHCP: RFC 2131 */
	SERVER_PORT = 67,
	CLIENT_PORT = 68,
	BOOTREQUEST = 1,
	BOOTREPLY = 2,
	AT_XID = 4,
	AT_YIADDR = 16,
	AT_CHADDR = 28,
	AT_COOKIE = 236,
	AT_OPTIONS = 240,
	OPTION_PAD = 0,
	OPTION_TYPE = 53,
	OPTION_END = 255,
	TYPE_DISCOVER = 1,
	TYPE_REQUEST = 3,
	TYPE_ACK = 5,
	/* told at once, and then one each: no second has more than 10 */
	BURST = 5,
	REFILL_MS = 200,
};

/* Can a host have it? */
static bool is_of_host(struct in_addr address)
{
	uint32_t a = ntohl(address.s_addr), first = a >> 24;

	return first != 0 && first != 127 && first < 224;
}

static bool is_arp(struct slice f, const uint8_t mac[MAC], struct learn_hint *hint)
{
	/* Ethernet, IPv4, the lengths of their addresses; the operation may be any */
	static const uint8_t kinds[] = { 0, 1, 8, 0, MAC, 4 };

	if (f.len < ARP_SIZE || frame_get16(f.ptr + AT_TYPE) != TYPE_ARP ||
	    memcmp(f.ptr + AT_ARP, kinds, sizeof(kinds)) != 0 ||
	    memcmp(f.ptr + MAC, mac, MAC) != 0 || memcmp(f.ptr + AT_SENDER_MAC, mac, MAC) != 0)
		return false;
	memcpy(&hint->address, f.ptr + AT_SENDER, sizeof(hint->address));
	return true;
}

/* The first message type among the options; 0: none before they end or are malformed. */
static uint8_t message_type(struct slice s)
{
	size_t at = 0;

	while (at < s.len && s.ptr[at] != OPTION_END) {
		uint8_t code = s.ptr[at++];

		if (code == OPTION_PAD)
			continue;
		if (at == s.len || s.ptr[at] > s.len - at - 1)
			return 0;
		if (code == OPTION_TYPE)
			return s.ptr[at] == 1 ? s.ptr[at + 1] : 0;
		at += 1U + s.ptr[at];
	}
	return 0;
}

static bool is_for(const struct frame *f, const uint8_t mac[MAC])
{
	static const uint8_t everybody[MAC] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	return memcmp(f->to, mac, MAC) == 0 || memcmp(f->to, everybody, MAC) == 0;
}

/* The type of a DHCP message of @operation about the guest; 0: it is none. */
static uint8_t dhcp_type(struct slice m, uint8_t operation, const uint8_t mac[MAC])
{
	static const uint8_t cookie[] = { 99, 130, 83, 99 };
	const uint8_t head[] = { operation, 1, MAC };

	if (m.len < AT_OPTIONS || memcmp(m.ptr, head, sizeof(head)) != 0 ||
	    memcmp(m.ptr + AT_CHADDR, mac, MAC) != 0 ||
	    memcmp(m.ptr + AT_COOKIE, cookie, sizeof(cookie)) != 0)
		return 0;
	return message_type((struct slice){ m.ptr + AT_OPTIONS, m.len - AT_OPTIONS });
}

static bool is_question(const struct frame *f, const uint8_t mac[MAC])
{
	uint8_t type;

	if (f->source_port != CLIENT_PORT || f->target_port != SERVER_PORT ||
	    memcmp(f->from, mac, MAC) != 0)
		return false;
	type = dhcp_type(f->payload, BOOTREQUEST, mac);
	return type == TYPE_DISCOVER || type == TYPE_REQUEST;
}

static bool is_ack(const struct frame *f, const uint8_t mac[MAC])
{
	return f->source_port == SERVER_PORT && f->target_port == CLIENT_PORT && is_for(f, mac) &&
	       dhcp_type(f->payload, BOOTREPLY, mac) == TYPE_ACK;
}

static enum learn_kind learn_dhcp(struct slice bytes, const uint8_t mac[MAC],
				  struct learn_hint *hint)
{
	struct frame f;
	enum learn_kind kind = LEARN_NOTHING;

	if (!frame_parse(bytes, &f))
		return LEARN_NOTHING;
	if (is_question(&f, mac))
		kind = LEARN_ASKED;
	else if (is_ack(&f, mac))
		kind = LEARN_GIVEN;
	else
		return LEARN_NOTHING;
	memcpy(&hint->xid, f.payload.ptr + AT_XID, sizeof(hint->xid));
	memcpy(&hint->address, f.payload.ptr + AT_YIADDR, sizeof(hint->address));
	return kind;
}

enum learn_kind learn_frame(struct slice frame, const uint8_t mac[MAC], struct learn_hint *hint)
{
	enum learn_kind kind = is_arp(frame, mac, hint) ? LEARN_ARP : learn_dhcp(frame, mac, hint);

	return kind == LEARN_ASKED || (kind != LEARN_NOTHING && is_of_host(hint->address))
		       ? kind
		       : LEARN_NOTHING;
}

void learner_init(struct learner *l, const uint8_t mac[MAC], uint64_t now)
{
	*l = (struct learner){ .tokens = BURST, .refilled = now };
	memcpy(l->mac, mac, MAC);
}

static void refill(struct learner *l, uint64_t now)
{
	uint64_t more = (now - l->refilled) / REFILL_MS;

	if (more == 0)
		return;
	l->refilled = now;
	l->tokens = more > BURST - l->tokens ? BURST : l->tokens + (unsigned)more;
}

/* What DHCP said is not said again by the guest's ARP with that address. */
static bool is_news(const struct learnt *last, const struct learnt *found)
{
	return found->address.s_addr != last->address.s_addr || (found->by_dhcp && !last->by_dhcp);
}

/* Is it the answer that the guest waits for? Another one will not be. */
static bool is_answer(struct learner *l, uint32_t xid, uint64_t now)
{
	if (now >= l->asked_until || xid != l->xid)
		return false;
	l->asked_until = 0;
	return true;
}

bool learner_take(struct learner *l, struct slice frame, uint64_t now, struct learnt *found)
{
	struct learn_hint hint;
	enum learn_kind kind = learn_frame(frame, l->mac, &hint);

	refill(l, now);
	if (kind == LEARN_ASKED) {
		l->xid = hint.xid;
		l->asked_until = now + LEARN_ANSWER_MS;
	}
	if (kind != LEARN_ARP && (kind != LEARN_GIVEN || !is_answer(l, hint.xid, now)))
		return false;
	*found = (struct learnt){ .address = hint.address, .by_dhcp = kind == LEARN_GIVEN };
	if (l->tokens == 0 || !is_news(&l->last, found))
		return false;
	l->tokens--;
	l->last = *found;
	return true;
}
