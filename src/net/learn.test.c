/* SPDX-License-Identifier: Apache-2.0 */
#include "net/learn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "net/frame.h"

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
static const struct in_addr address = { 0x0702000a }; /* 10.0.2.7 */

enum { XID = 0x01020304 };
enum { ARP = 42, DHCP = FRAME_HEADERS + 300, OPTIONS = FRAME_HEADERS + 240 };

static void make_arp(uint8_t frame[ARP], struct in_addr sender)
{
	static const uint8_t head[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };

	memset(frame, 0xff, 6);
	memcpy(frame + 6, mac, 6);
	memcpy(frame + 12, head, sizeof(head));
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 28, &sender, sizeof(sender));
	memset(frame + 32, 0, 10);
}

/* A DHCP message about the guest's address, as it is on the wire. */
static void make_dhcp(uint8_t bytes[DHCP], uint8_t operation, uint8_t type, struct frame *f)
{
	const uint8_t options[] = { 99, 130, 83, 99, 0, 51, 4, 0, 0, 1, 0, 53, 1, type, 255 };
	const uint32_t xid = htonl(XID);
	uint8_t *m = bytes + FRAME_HEADERS;

	memset(bytes, 0, DHCP);
	m[0] = operation;
	m[1] = 1;
	m[2] = 6;
	memcpy(m + 4, &xid, sizeof(xid));
	memcpy(m + 28, mac, 6);
	memcpy(m + 236, options, sizeof(options));
	f->payload = (struct slice){ m, DHCP - FRAME_HEADERS };
	assert_int_equal(frame_build(bytes, f), DHCP);
}

static void make_ack(uint8_t bytes[DHCP], struct in_addr given)
{
	struct frame f = { .source_port = 67, .target_port = 68 };

	memcpy(f.to, mac, 6);
	make_dhcp(bytes, 2, 5, &f);
	memcpy(bytes + FRAME_HEADERS + 16, &given, sizeof(given));
}

static void make_question(uint8_t bytes[DHCP], uint8_t type)
{
	struct frame f = { .source_port = 68, .target_port = 67 };

	memset(f.to, 0xff, 6);
	memcpy(f.from, mac, 6);
	make_dhcp(bytes, 1, type, &f);
}

static enum learn_kind shows(const uint8_t *frame, size_t len, struct learn_hint *hint)
{
	return learn_frame((struct slice){ frame, len }, mac, hint);
}

static bool learns(const uint8_t *frame, size_t len, struct learn_hint *hint)
{
	return shows(frame, len, hint) != LEARN_NOTHING;
}

static void test_arp(void **state)
{
	uint8_t frame[ARP + 18] = { 0 };
	struct learn_hint found;

	(void)state;
	make_arp(frame, address);
	assert_int_equal(shows(frame, ARP, &found), LEARN_ARP);
	assert_int_equal(found.address.s_addr, address.s_addr);
	assert_true(learns(frame, sizeof(frame), &found));
	for (size_t n = 0; n < ARP; n++)
		assert_false(learns(frame, n, &found));
}

static void test_arp_of_others(void **state)
{
	/* source, type, hardware, protocol, lengths, sender's MAC */
	static const size_t at[] = { 6, 11, 12, 13, 14, 15, 16, 17, 18, 19, 22, 27 };
	uint8_t frame[ARP];
	struct learn_hint found;

	(void)state;
	for (size_t i = 0; i < array_size(at); i++) {
		make_arp(frame, address);
		frame[at[i]] ^= 1;
		assert_false(learns(frame, ARP, &found));
	}
}

/* A probe (RFC 5227) has none; others no host can have. */
static void test_addresses_of_no_host(void **state)
{
	static const uint8_t bad[] = { 0, 127, 224, 239, 240, 255 };
	uint8_t arp[ARP], ack[DHCP];
	struct learn_hint found;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		struct in_addr a = { htonl((uint32_t)bad[i] << 24) };

		make_arp(arp, a);
		make_ack(ack, a);
		assert_false(learns(arp, ARP, &found));
		assert_false(learns(ack, DHCP, &found));
	}
}

static void test_ack(void **state)
{
	uint8_t frame[DHCP];
	struct learn_hint found;

	(void)state;
	make_ack(frame, address);
	assert_int_equal(shows(frame, DHCP, &found), LEARN_GIVEN);
	assert_int_equal(found.address.s_addr, address.s_addr);
	assert_int_equal(found.xid, htonl(XID));
	memset(frame, 0xff, 6);
	assert_true(learns(frame, DHCP, &found));
	for (size_t n = 0; n < DHCP; n++)
		assert_false(learns(frame, n, &found));
}

static void test_acks_of_others(void **state)
{
	static const struct {
		size_t at;
		uint8_t flip;
	} flips[] = {
		{ 0, 1 }, /* to */
		{ 35, 1 }, /* from port */
		{ 37, 1 }, /* to port */
		{ FRAME_HEADERS, 3 }, /* a request */
		{ FRAME_HEADERS + 1, 2 },
		{ FRAME_HEADERS + 2, 1 },
		{ FRAME_HEADERS + 33, 1 }, /* chaddr */
		{ FRAME_HEADERS + 237, 1 }, /* cookie */
		{ OPTIONS + 2, 0xff }, /* an option's length */
		{ OPTIONS + 7, 1 }, /* no type */
		{ OPTIONS + 8, 3 }, /* its length */
		{ OPTIONS + 9, 3 }, /* NAK */
	};
	uint8_t frame[DHCP];
	struct learn_hint found;

	(void)state;
	for (size_t i = 0; i < array_size(flips); i++) {
		make_ack(frame, address);
		frame[flips[i].at] ^= flips[i].flip;
		assert_false(learns(frame, DHCP, &found));
	}
}

/* Options that end, or are cut, at the last byte. */
static void test_options_to_the_end(void **state)
{
	uint8_t frame[DHCP];
	struct learn_hint found;
	uint8_t *end = frame + DHCP;

	(void)state;
	make_ack(frame, address);
	memset(frame + OPTIONS, 0, DHCP - OPTIONS);
	assert_false(learns(frame, DHCP, &found));
	end[-1] = 53;
	assert_false(learns(frame, DHCP, &found));
	end[-2] = 53;
	end[-1] = 1;
	assert_false(learns(frame, DHCP, &found));
	end[-3] = 53;
	end[-2] = 1;
	end[-1] = 5;
	assert_true(learns(frame, DHCP, &found));
}

static void test_questions(void **state)
{
	uint8_t frame[DHCP];
	struct learn_hint found;

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		make_question(frame, (uint8_t)type);
		assert_int_equal(shows(frame, DHCP, &found),
				 type == 1 || type == 3 ? LEARN_ASKED : LEARN_NOTHING);
	}
	make_question(frame, 3);
	assert_true(learns(frame, DHCP, &found));
	assert_int_equal(found.xid, htonl(XID));
	for (size_t n = 0; n < DHCP; n++)
		assert_false(learns(frame, n, &found));
}

static void test_questions_of_others(void **state)
{
	/* from, the ports, operation, chaddr, cookie */
	static const size_t at[] = {
		6, 11, 35, 37, FRAME_HEADERS, FRAME_HEADERS + 33, FRAME_HEADERS + 237
	};
	uint8_t frame[DHCP];
	struct learn_hint found;

	(void)state;
	for (size_t i = 0; i < array_size(at); i++) {
		make_question(frame, 3);
		frame[at[i]] ^= 1;
		assert_false(learns(frame, DHCP, &found));
	}
}

static bool takes(struct learner *l, const uint8_t *frame, size_t len, uint64_t now)
{
	struct learnt found;

	return learner_take(l, (struct slice){ frame, len }, now, &found);
}

static bool is_answered(struct learner *l, struct in_addr given, uint64_t now)
{
	uint8_t question[DHCP], ack[DHCP];

	make_question(question, 3);
	make_ack(ack, given);
	assert_false(takes(l, question, DHCP, now));
	return takes(l, ack, DHCP, now);
}

static void test_an_answer_to_nothing(void **state)
{
	uint8_t question[DHCP], ack[DHCP];
	struct learner l;

	(void)state;
	make_question(question, 1);
	make_ack(ack, address);
	learner_init(&l, mac, 1000);
	assert_false(takes(&l, ack, DHCP, 1000));
	assert_false(takes(&l, question, DHCP, 1000));
	/* to another question; too late */
	ack[FRAME_HEADERS + 7] ^= 1;
	assert_false(takes(&l, ack, DHCP, 1000));
	ack[FRAME_HEADERS + 7] ^= 1;
	assert_false(takes(&l, ack, DHCP, 1000 + LEARN_ANSWER_MS));
	assert_true(takes(&l, ack, DHCP, 1000 + LEARN_ANSWER_MS - 1));
	/* a second one */
	make_ack(ack, (struct in_addr){ 0x0802000a });
	assert_false(takes(&l, ack, DHCP, 1000));
	assert_false(takes(&l, question, DHCP, 1000));
	assert_true(takes(&l, ack, DHCP, 1000));
}

static void test_only_news_are_told(void **state)
{
	uint8_t arp[ARP];
	struct learner l;

	(void)state;
	make_arp(arp, address);
	learner_init(&l, mac, 1000);
	assert_true(takes(&l, arp, ARP, 1000));
	assert_false(takes(&l, arp, ARP, 1000));
	assert_true(is_answered(&l, address, 1000));
	assert_false(is_answered(&l, address, 1000));
	assert_false(takes(&l, arp, ARP, 1000));
	make_arp(arp, (struct in_addr){ 0x0802000a });
	assert_true(takes(&l, arp, ARP, 1000));
	assert_true(is_answered(&l, address, 1000));
}

static void test_ten_each_second(void **state)
{
	uint8_t arp[ARP];
	struct learner l;
	unsigned told = 0;

	(void)state;
	learner_init(&l, mac, 0);
	for (uint64_t now = 0; now < 10000; now++) {
		make_arp(arp, (struct in_addr){ htonl(0x0a000000 + (uint32_t)now) });
		told += takes(&l, arp, ARP, now);
		if (now == 999)
			assert_in_range(told, 5, 10);
	}
	assert_in_range(told, 50, 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_arp_of_others),
		cmocka_unit_test(test_addresses_of_no_host),
		cmocka_unit_test(test_ack),
		cmocka_unit_test(test_acks_of_others),
		cmocka_unit_test(test_options_to_the_end),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_questions_of_others),
		cmocka_unit_test(test_an_answer_to_nothing),
		cmocka_unit_test(test_only_news_are_told),
		cmocka_unit_test(test_ten_each_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
