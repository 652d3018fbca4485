/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Section numbers are those of RFC 2131 if nothing else is said; options are
 * those of RFC 2132.
 */

#include "net/dhcp.h"

#include <arpa/inet.h>
#include <string.h>

#include "net/frame.h"

enum {
	BOOTREQUEST = 1,
	BOOTREPLY = 2,
	SERVER_PORT = 67,
	CLIENT_PORT = 68,
	FLAG_BROADCAST = 0x8000,
	/* offsets in the message */
	AT_XID = 4,
	AT_FLAGS = 10,
	AT_CIADDR = 12,
	AT_YIADDR = 16,
	AT_GIADDR = 24,
	AT_CHADDR = 28,
	AT_SNAME = 44,
	AT_FILE = 108,
	AT_COOKIE = 236,
	AT_OPTIONS = 240,
	SNAME_SIZE = AT_FILE - AT_SNAME,
	FILE_SIZE = AT_COOKIE - AT_FILE,
	MESSAGE_MIN = 300, /* some relays and clients drop what is shorter (RFC 951) */
	CLIENT_ID_MAX = 255,
};

static const uint8_t cookie[] = { 99, 130, 83, 99 };

enum option {
	OPTION_PAD = 0,
	OPTION_MASK = 1,
	OPTION_ROUTER = 3,
	OPTION_DNS = 6,
	OPTION_MTU = 26,
	OPTION_REQUESTED = 50,
	OPTION_LEASE = 51,
	OPTION_OVERLOAD = 52,
	OPTION_TYPE = 53,
	OPTION_SERVER = 54,
	OPTION_RENEWAL = 58,
	OPTION_REBINDING = 59,
	OPTION_CLIENT_ID = 61,
	OPTION_END = 255,
};

enum type { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };

/* What we need of a request. Slices borrow from the frame. */
struct request {
	struct slice message;
	uint8_t type; /* 0: none, plain BOOTP */
	uint8_t overload;
	bool has_requested, has_server;
	struct in_addr requested, server, ciaddr;
	struct slice client_id;
};

static bool read_address(struct slice value, struct in_addr *address, bool *has)
{
	if (value.len != sizeof(*address))
		return false;
	memcpy(address, value.ptr, sizeof(*address));
	*has = true;
	return true;
}

static bool read_byte(struct slice value, uint8_t *byte)
{
	if (value.len != 1)
		return false;
	*byte = value.ptr[0];
	return true;
}

/* Return: false where the option is malformed. */
static bool read_option(struct request *r, uint8_t code, struct slice value)
{
	switch (code) {
	case OPTION_TYPE:
		return read_byte(value, &r->type);
	case OPTION_OVERLOAD:
		return read_byte(value, &r->overload);
	case OPTION_REQUESTED:
		return read_address(value, &r->requested, &r->has_requested);
	case OPTION_SERVER:
		return read_address(value, &r->server, &r->has_server);
	case OPTION_CLIENT_ID:
		r->client_id = value;
		return value.len > 0;
	default:
		return true;
	}
}

static bool read_options(struct request *r, struct slice s)
{
	size_t at = 0;

	while (at < s.len && s.ptr[at] != OPTION_END) {
		uint8_t code = s.ptr[at++];
		size_t len;

		if (code == OPTION_PAD)
			continue;
		if (at == s.len)
			return false;
		len = s.ptr[at++];
		if (len > s.len - at)
			return false;
		if (!read_option(r, code, (struct slice){ s.ptr + at, len }))
			return false;
		at += len;
	}
	return true;
}

static bool read_request(const struct dhcp *d, struct slice m, struct request *r)
{
	static const uint8_t no_relay[4];

	if (m.len < AT_OPTIONS || m.ptr[0] != BOOTREQUEST || m.ptr[1] != 1 || m.ptr[2] != 6)
		return false;
	if (memcmp(m.ptr + AT_CHADDR, d->mac, sizeof(d->mac)) != 0 ||
	    memcmp(m.ptr + AT_GIADDR, no_relay, sizeof(no_relay)) != 0 ||
	    memcmp(m.ptr + AT_COOKIE, cookie, sizeof(cookie)) != 0)
		return false;
	r->message = m;
	memcpy(&r->ciaddr, m.ptr + AT_CIADDR, sizeof(r->ciaddr));
	if (!read_options(r, (struct slice){ m.ptr + AT_OPTIONS, m.len - AT_OPTIONS }))
		return false;
	if ((r->overload & 1) && !read_options(r, (struct slice){ m.ptr + AT_FILE, FILE_SIZE }))
		return false;
	return !(r->overload & 2) ||
	       read_options(r, (struct slice){ m.ptr + AT_SNAME, SNAME_SIZE });
}

static bool is_address(struct in_addr a, struct in_addr b)
{
	return a.s_addr == b.s_addr;
}

/* Section 4.3.2. Return: ACK, NAK, or 0 for silence. */
static uint8_t judge_request(const struct dhcp *d, const struct request *r)
{
	if (r->has_server && !is_address(r->server, d->host))
		return 0;
	if (r->has_requested)
		return is_address(r->requested, d->address) ? ACK : NAK;
	if (r->ciaddr.s_addr && !r->has_server)
		return is_address(r->ciaddr, d->address) ? ACK : NAK;
	return 0;
}

/* Return: the type of the answer, 0 for silence. */
static uint8_t judge(const struct dhcp *d, const struct request *r)
{
	switch (r->type) {
	case DISCOVER:
		return OFFER;
	case REQUEST:
		return judge_request(d, r);
	case INFORM:
		return is_address(r->ciaddr, d->address) ? ACK : 0;
	default: /* DECLINE, RELEASE: the guest has no other address to get */
		return 0;
	}
}

struct writer {
	uint8_t *message;
	size_t len;
};

static void put(struct writer *w, enum option code, const void *value, size_t len)
{
	w->message[w->len++] = (uint8_t)code;
	w->message[w->len++] = (uint8_t)len;
	memcpy(w->message + w->len, value, len);
	w->len += len;
}

static void put_u32(struct writer *w, enum option code, uint32_t value)
{
	value = htonl(value);
	put(w, code, &value, sizeof(value));
}

static void put_lease(struct writer *w)
{
	put_u32(w, OPTION_LEASE, DHCP_LEASE_S);
	put_u32(w, OPTION_RENEWAL, DHCP_LEASE_S / 2);
	put_u32(w, OPTION_REBINDING, DHCP_LEASE_S / 8 * 7);
}

static void put_network(const struct dhcp *d, struct writer *w)
{
	uint8_t mtu[2];

	frame_put16(mtu, d->mtu);
	put_u32(w, OPTION_MASK, UINT32_MAX << (32 - d->prefix));
	put(w, OPTION_ROUTER, &d->host, sizeof(d->host));
	put(w, OPTION_DNS, &d->host, sizeof(d->host));
	put(w, OPTION_MTU, mtu, sizeof(mtu));
}

/* Section 4.3.1, table 3. Return: the message's length. */
static size_t write_message(const struct dhcp *d, const struct request *r, uint8_t type,
			    uint8_t *message)
{
	struct writer w = { .message = message, .len = AT_OPTIONS };
	bool gives = type == OFFER || (type == ACK && r->type == REQUEST);

	memset(message, 0, DHCP_FRAME_MAX - FRAME_HEADERS);
	memcpy(message, r->message.ptr, AT_CIADDR);
	message[0] = BOOTREPLY;
	message[3] = 0; /* hops */
	memset(message + 8, 0, 2); /* secs */
	memcpy(message + AT_CHADDR, d->mac, sizeof(d->mac));
	memcpy(message + AT_COOKIE, cookie, sizeof(cookie));
	if (type == ACK)
		memcpy(message + AT_CIADDR, &r->ciaddr, sizeof(r->ciaddr));
	if (gives)
		memcpy(message + AT_YIADDR, &d->address, sizeof(d->address));
	put(&w, OPTION_TYPE, &type, 1);
	put(&w, OPTION_SERVER, &d->host, sizeof(d->host));
	if (gives)
		put_lease(&w);
	if (type != NAK)
		put_network(d, &w);
	if (r->client_id.len) /* RFC 6842 */
		put(&w, OPTION_CLIENT_ID, r->client_id.ptr, r->client_id.len);
	w.message[w.len++] = OPTION_END;
	return w.len < MESSAGE_MIN ? MESSAGE_MIN : w.len;
}

/* Section 4.1: to whom. */
static void address_reply(const struct dhcp *d, const struct request *r, uint8_t type,
			  struct frame *f)
{
	bool asked = frame_get16(r->message.ptr + AT_FLAGS) & FLAG_BROADCAST;

	memcpy(f->to, d->mac, sizeof(f->to));
	f->target = d->address;
	if (type == NAK || (asked && !r->ciaddr.s_addr)) {
		memset(f->to, 0xff, sizeof(f->to));
		f->target.s_addr = INADDR_BROADCAST;
	}
	memcpy(f->from, d->host_mac, sizeof(f->from));
	f->source = d->host;
	f->source_port = SERVER_PORT;
	f->target_port = CLIENT_PORT;
}

size_t dhcp_answer(const struct dhcp *d, struct slice bytes, uint8_t reply[DHCP_FRAME_MAX],
		   bool *leased)
{
	struct request r = { .type = 0 };
	struct frame in, out;
	uint8_t *message = reply + FRAME_HEADERS;
	uint8_t type;

	_Static_assert(FRAME_HEADERS + AT_OPTIONS + 64 + CLIENT_ID_MAX + 2 < DHCP_FRAME_MAX,
		       "a reply with the longest client identifier fits");
	*leased = false;
	if (!frame_parse(bytes, &in) || in.target_port != SERVER_PORT ||
	    memcmp(in.from, d->mac, sizeof(d->mac)) != 0)
		return 0;
	if (!read_request(d, in.payload, &r))
		return 0;
	type = judge(d, &r);
	if (type == 0)
		return 0;
	*leased = type == ACK && r.type == REQUEST;
	address_reply(d, &r, type, &out);
	out.payload = (struct slice){ message, write_message(d, &r, type, message) };
	return frame_build(reply, &out);
}
