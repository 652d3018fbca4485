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
	BOOTREPLY = 2,
	AT_YIADDR = 16,
	AT_CHADDR = 28,
	AT_COOKIE = 236,
	AT_OPTIONS = 240,
	OPTION_PAD = 0,
	OPTION_TYPE = 53,
	OPTION_END = 255,
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

static bool by_arp(struct slice f, const uint8_t mac[MAC], struct learnt *found)
{
	/* Ethernet, IPv4, the lengths of their addresses; the operation may be any */
	static const uint8_t kinds[] = { 0, 1, 8, 0, MAC, 4 };

	if (f.len < ARP_SIZE || frame_get16(f.ptr + AT_TYPE) != TYPE_ARP ||
	    memcmp(f.ptr + AT_ARP, kinds, sizeof(kinds)) != 0 ||
	    memcmp(f.ptr + MAC, mac, MAC) != 0 || memcmp(f.ptr + AT_SENDER_MAC, mac, MAC) != 0)
		return false;
	memcpy(&found->address, f.ptr + AT_SENDER, sizeof(found->address));
	found->by_dhcp = false;
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

static bool by_dhcp(struct slice bytes, const uint8_t mac[MAC], struct learnt *found)
{
	static const uint8_t head[] = { BOOTREPLY, 1, MAC }, cookie[] = { 99, 130, 83, 99 };
	struct frame f;
	struct slice m;

	if (!frame_parse(bytes, &f) || f.source_port != SERVER_PORT ||
	    f.target_port != CLIENT_PORT || !is_for(&f, mac))
		return false;
	m = f.payload;
	if (m.len < AT_OPTIONS || memcmp(m.ptr, head, sizeof(head)) != 0 ||
	    memcmp(m.ptr + AT_CHADDR, mac, MAC) != 0 ||
	    memcmp(m.ptr + AT_COOKIE, cookie, sizeof(cookie)) != 0 ||
	    message_type((struct slice){ m.ptr + AT_OPTIONS, m.len - AT_OPTIONS }) != TYPE_ACK)
		return false;
	memcpy(&found->address, m.ptr + AT_YIADDR, sizeof(found->address));
	found->by_dhcp = true;
	return true;
}

bool learn_frame(struct slice frame, const uint8_t mac[MAC], struct learnt *found)
{
	return (by_arp(frame, mac, found) || by_dhcp(frame, mac, found)) &&
	       is_of_host(found->address);
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

bool learner_take(struct learner *l, struct slice frame, uint64_t now, struct learnt *found)
{
	refill(l, now);
	if (l->tokens == 0 || !learn_frame(frame, l->mac, found) || !is_news(&l->last, found))
		return false;
	l->tokens--;
	l->last = *found;
	return true;
}
