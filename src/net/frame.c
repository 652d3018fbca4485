/* SPDX-License-Identifier: Apache-2.0 */
#include "net/frame.h"

#include <string.h>

enum {
	ETHERNET = 14,
	IP_MIN = 20,
	UDP = 8,
	TYPE_IPV4 = 0x0800,
	PROTO_UDP = 17,
	TTL = 64,
	FRAGMENT = 0x3fff, /* more fragments, or an offset */
};

uint16_t frame_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

void frame_put16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static bool parse_udp(struct slice ip, struct frame *f)
{
	size_t len;

	if (ip.len < UDP)
		return false;
	len = frame_get16(ip.ptr + 4);
	if (len < UDP || len > ip.len)
		return false;
	f->source_port = frame_get16(ip.ptr);
	f->target_port = frame_get16(ip.ptr + 2);
	f->payload = (struct slice){ ip.ptr + UDP, len - UDP };
	return true;
}

bool frame_parse(struct slice bytes, struct frame *f)
{
	const uint8_t *ip = bytes.ptr + ETHERNET;
	size_t head, total;

	if (bytes.len < ETHERNET + IP_MIN || frame_get16(bytes.ptr + 12) != TYPE_IPV4)
		return false;
	head = (size_t)(ip[0] & 15) * 4;
	total = frame_get16(ip + 2);
	if (ip[0] >> 4 != 4 || head < IP_MIN || total < head || total > bytes.len - ETHERNET)
		return false;
	if (ip[9] != PROTO_UDP || (frame_get16(ip + 6) & FRAGMENT))
		return false;
	memcpy(f->to, bytes.ptr, sizeof(f->to));
	memcpy(f->from, bytes.ptr + 6, sizeof(f->from));
	memcpy(&f->source, ip + 12, sizeof(f->source));
	memcpy(&f->target, ip + 16, sizeof(f->target));
	return parse_udp((struct slice){ ip + head, total - head }, f);
}

/* RFC 1071: the sum before it is folded and inverted. */
static uint32_t sum(const uint8_t *p, size_t len, uint32_t start)
{
	for (; len > 1; p += 2, len -= 2)
		start += frame_get16(p);
	return len ? start + (uint32_t)(*p << 8) : start;
}

static uint16_t fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

static void build_udp(uint8_t *udp, const uint8_t *ip, const struct frame *f, size_t len)
{
	uint16_t check;

	frame_put16(udp, f->source_port);
	frame_put16(udp + 2, f->target_port);
	frame_put16(udp + 4, (uint16_t)len);
	frame_put16(udp + 6, 0);
	/* the pseudo header: both addresses, protocol, length (RFC 768) */
	check = fold(sum(udp, len, sum(ip + 12, 8, PROTO_UDP + (uint32_t)len)));
	frame_put16(udp + 6, check ? check : 0xffff);
}

size_t frame_build(uint8_t *bytes, const struct frame *f)
{
	uint8_t *ip = bytes + ETHERNET;
	size_t len = UDP + f->payload.len;

	memcpy(bytes, f->to, sizeof(f->to));
	memcpy(bytes + 6, f->from, sizeof(f->from));
	frame_put16(bytes + 12, TYPE_IPV4);
	memset(ip, 0, IP_MIN);
	ip[0] = 0x45;
	frame_put16(ip + 2, (uint16_t)(IP_MIN + len));
	ip[8] = TTL;
	ip[9] = PROTO_UDP;
	memcpy(ip + 12, &f->source, sizeof(f->source));
	memcpy(ip + 16, &f->target, sizeof(f->target));
	frame_put16(ip + 10, fold(sum(ip, IP_MIN, 0)));
	build_udp(ip + IP_MIN, ip, f, len);
	return ETHERNET + IP_MIN + len;
}
