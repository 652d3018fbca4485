/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dhcp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/attr.h"
#include "net/frame.h"

enum { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };
enum { MESSAGE = 240 };

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

static struct dhcp server(void)
{
	struct dhcp d = {
		.host_mac = { 2, 'L' },
		.address = { htonl(0xc0a84002) },
		.host = { htonl(0xc0a84001) },
		.prefix = 24,
		.mtu = 1500,
	};

	memcpy(d.mac, mac, sizeof(mac));
	return d;
}

struct ask {
	uint8_t bytes[1024];
	size_t len; /* of the DHCP message */
};

static uint8_t *message(struct ask *a)
{
	return a->bytes + FRAME_HEADERS;
}

static void add(struct ask *a, uint8_t code, const void *value, uint8_t len)
{
	uint8_t *at = message(a) + a->len;

	at[0] = code;
	at[1] = len;
	memcpy(at + 2, value, len);
	a->len += 2U + len;
}

static struct ask begin(uint8_t type)
{
	struct ask a = { .len = MESSAGE };
	uint8_t *m = message(&a);

	m[0] = m[1] = 1;
	m[2] = 6;
	memcpy(m + 4, "xid!", 4);
	memcpy(m + 28, mac, sizeof(mac));
	memcpy(m + 236, "\x63\x82\x53\x63", 4);
	if (type)
		add(&a, 53, &type, 1);
	return a;
}

/* Return: the length of the reply. */
static size_t send_it(struct ask *a, uint8_t reply[DHCP_FRAME_MAX], bool *leased)
{
	const struct dhcp d = server();
	struct frame f = {
		.source_port = 68,
		.target_port = 67,
		.target = { htonl(INADDR_BROADCAST) },
		.payload = { message(a), a->len },
	};

	memset(f.to, 0xff, sizeof(f.to));
	memcpy(f.from, mac, sizeof(mac));
	return dhcp_answer(&d, (struct slice){ a->bytes, frame_build(a->bytes, &f) }, reply,
			   leased);
}

/* Return: the type of the answer, 0 for none; checks what all answers have. */
static uint8_t answer(struct ask a, bool *leased)
{
	uint8_t reply[DHCP_FRAME_MAX];
	struct frame f;
	size_t len = send_it(&a, reply, leased);

	if (len == 0)
		return 0;
	assert_true(frame_parse((struct slice){ reply, len }, &f));
	assert_int_equal(f.source_port, 67);
	assert_int_equal(f.target_port, 68);
	assert_true(f.payload.len >= 300);
	assert_memory_equal(f.payload.ptr + 4, "xid!", 4);
	assert_int_equal(f.payload.ptr[0], 2);
	assert_int_equal(f.payload.ptr[240], 53);
	return f.payload.ptr[242];
}

static void test_types(void **state)
{
	const uint32_t ours = htonl(0xc0a84002), host = htonl(0xc0a84001), other = htonl(1);
	static const struct {
		uint8_t type, expected;
	} plain[] = { { 0, 0 },	      { DISCOVER, OFFER }, { OFFER, 0 },   { REQUEST, 0 },
		      { DECLINE, 0 }, { ACK, 0 },	   { RELEASE, 0 }, { INFORM, 0 },
		      { 9, 0 },	      { 255, 0 } };
	bool leased;
	struct ask a;

	(void)state;
	for (size_t i = 0; i < array_size(plain); i++) {
		assert_int_equal(answer(begin(plain[i].type), &leased), plain[i].expected);
		assert_false(leased);
	}
	a = begin(REQUEST);
	add(&a, 50, &ours, 4);
	assert_int_equal(answer(a, &leased), ACK);
	assert_true(leased);
	add(&a, 54, &host, 4);
	assert_int_equal(answer(a, &leased), ACK);
	a = begin(REQUEST);
	add(&a, 54, &other, 4);
	add(&a, 50, &ours, 4);
	assert_int_equal(answer(a, &leased), 0);
	a = begin(REQUEST);
	add(&a, 50, &other, 4);
	assert_int_equal(answer(a, &leased), NAK);
	assert_false(leased);
}

static void test_ciaddr(void **state)
{
	const uint32_t ours = htonl(0xc0a84002), other = htonl(1);
	bool leased;
	struct ask a = begin(REQUEST);

	(void)state;
	memcpy(message(&a) + 12, &ours, 4);
	assert_int_equal(answer(a, &leased), ACK);
	memcpy(message(&a) + 12, &other, 4);
	assert_int_equal(answer(a, &leased), NAK);
	a = begin(INFORM);
	memcpy(message(&a) + 12, &ours, 4);
	assert_int_equal(answer(a, &leased), ACK);
	assert_false(leased);
}

/* Options that overflow into sname and file (RFC 2132 section 9.3). */
static void test_overload(void **state)
{
	const uint32_t ours = htonl(0xc0a84002);
	const uint8_t both = 3, file_only = 1;
	const uint8_t type[] = { 53, 1, REQUEST, 255 };
	uint8_t requested[7] = { 50, 4 };
	bool leased;
	struct ask a = begin(0);

	(void)state;
	requested[6] = 255;
	memcpy(requested + 2, &ours, 4);
	add(&a, 52, &both, 1);
	memcpy(message(&a) + 108, type, sizeof(type));
	memcpy(message(&a) + 44, requested, sizeof(requested));
	assert_int_equal(answer(a, &leased), ACK);
	a = begin(0);
	add(&a, 52, &file_only, 1);
	message(&a)[108] = 53;
	message(&a)[109] = 255; /* beyond the field */
	assert_int_equal(answer(a, &leased), 0);
}

static void test_longest_client_id(void **state)
{
	uint8_t id[255], reply[DHCP_FRAME_MAX];
	bool leased;
	struct ask a = begin(DISCOVER);
	size_t len;

	(void)state;
	memset(id, 0x77, sizeof(id));
	add(&a, 61, id, sizeof(id));
	len = send_it(&a, reply, &leased);
	assert_true(len > 0 && len <= DHCP_FRAME_MAX);
	assert_memory_equal(reply + len - 1 - sizeof(id), id, sizeof(id));
}

static void test_malformed(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} flips[] = { { 0, 2 },	  { 1, 6 },   { 2, 16 },  { 24, 1 },   { 28, 0 },
		      { 236, 0 }, { 241, 2 }, { 241, 0 }, { 241, 255 } };
	bool leased;

	(void)state;
	for (size_t i = 0; i < array_size(flips); i++) {
		struct ask a = begin(DISCOVER);

		message(&a)[flips[i].at] = flips[i].value;
		assert_int_equal(answer(a, &leased), 0);
	}
	for (size_t len = 0; len <= 242; len++) {
		struct ask a = begin(DISCOVER);

		a.len = len;
		assert_int_equal(answer(a, &leased), 0);
	}
}

static void test_frames(void **state)
{
	uint8_t bytes[128] = { 0 };
	struct frame f = { .payload = { bytes + FRAME_HEADERS, 3 } }, back;
	size_t len = frame_build(bytes, &f);

	(void)state;
	assert_int_equal(len, FRAME_HEADERS + 3);
	assert_true(frame_parse((struct slice){ bytes, len }, &back));
	assert_int_equal(back.payload.len, 3);
	for (size_t n = 0; n < len; n++)
		assert_false(frame_parse((struct slice){ bytes, n }, &back));
	bytes[20] = 0x20; /* more fragments */
	assert_false(frame_parse((struct slice){ bytes, len }, &back));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),	  cmocka_unit_test(test_ciaddr),
		cmocka_unit_test(test_overload),  cmocka_unit_test(test_longest_client_id),
		cmocka_unit_test(test_malformed), cmocka_unit_test(test_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
