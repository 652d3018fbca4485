/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/attr.h"
#include "cmd/neighbour.h"

enum { INTERFACE = 7, AGE = 3 /* seconds */ };

static const struct mac mac = { { 0x52, 0x54, 0, 0xab, 0xcd, 0xef } };

/* What the kernel sends behind the header. */
struct message {
	struct ndmsg fixed;
	struct rtattr address_header;
	struct in_addr address;
	struct rtattr mac_header;
	uint8_t mac[8]; /* two of padding */
	struct rtattr cache_header;
	struct nda_cacheinfo cache;
};

static struct message valid(void)
{
	uint32_t ticks = (uint32_t)(AGE * sysconf(_SC_CLK_TCK));
	struct message m = {
		.fixed = { .ndm_family = AF_INET,
			   .ndm_ifindex = INTERFACE,
			   .ndm_state = NUD_STALE },
		.address_header = { .rta_len = 8, .rta_type = NDA_DST },
		.address = { inet_addr("192.168.64.7") },
		.mac_header = { .rta_len = 10, .rta_type = NDA_LLADDR },
		.cache_header = { .rta_len = sizeof(struct rtattr) + sizeof(struct nda_cacheinfo),
				  .rta_type = NDA_CACHEINFO },
		.cache = { .ndm_confirmed = 10 * ticks, .ndm_updated = ticks },
	};

	memcpy(m.mac, mac.bytes, sizeof(mac.bytes));
	return m;
}

static bool parse(const struct message *m, size_t len, struct neighbour *n)
{
	return neighbour_parse((struct slice){ (const uint8_t *)m, len }, n);
}

static void an_entry_is_read(void **state)
{
	static const uint16_t states[] = { NUD_PERMANENT, NUD_REACHABLE, NUD_STALE, NUD_DELAY,
					   NUD_PROBE };

	(void)state;
	for (size_t i = 0; i < array_size(states); i++) {
		struct message m = valid();
		struct neighbour n = { 0 };

		m.fixed.ndm_state = states[i];
		assert_true(parse(&m, sizeof(m), &n));
		assert_int_equal(n.interface, INTERFACE);
		assert_int_equal(n.address.s_addr, inet_addr("192.168.64.7"));
		assert_true(mac_equal(n.mac, mac));
		assert_int_equal(n.age, AGE);
	}
}

static void what_is_not_resolved_or_not_ethernet_is_none(void **state)
{
	struct message bad[6];
	struct neighbour n;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++)
		bad[i] = valid();
	bad[0].fixed.ndm_state = NUD_INCOMPLETE;
	bad[1].fixed.ndm_state = NUD_FAILED;
	bad[2].fixed.ndm_state = NUD_NOARP;
	bad[3].fixed.ndm_family = AF_INET6;
	bad[4].mac_header.rta_len = 9;
	bad[5].address_header.rta_type = NDA_PORT;
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(parse(&bad[i], sizeof(bad[i]), &n));
}

static void a_message_cut_anywhere_is_none(void **state)
{
	struct message m = valid();
	struct neighbour n;

	(void)state;
	for (size_t len = 0; len < sizeof(m); len++)
		assert_false(parse(&m, len, &n));
	for (size_t length = 0; length < sizeof(struct rtattr); length++) {
		m.mac_header.rta_len = (uint16_t)length; /* would never end */
		assert_false(parse(&m, sizeof(m), &n));
	}
}

static struct neighbour entry(const char *address, uint64_t age)
{
	return (struct neighbour){ .address = { inet_addr(address) }, .age = age };
}

static void an_entry_older_than_the_vm_is_no_answer(void **state)
{
	const struct neighbour old = entry("10.0.0.5", 61);
	const struct in_addr unknown = { 0 };

	(void)state;
	assert_false(neighbour_is_better(&old, NULL, unknown, 60));
	assert_true(neighbour_is_better(&old, NULL, unknown, 61));
}

static void the_address_in_use_is_one_however_old(void **state)
{
	const struct neighbour old = entry("10.0.0.5", 1000), fresh = entry("10.0.0.6", 0);

	(void)state;
	assert_true(neighbour_is_better(&old, NULL, old.address, 60));
	assert_true(neighbour_is_better(&old, &fresh, old.address, 60));
	assert_false(neighbour_is_better(&fresh, &old, old.address, 60));
}

static void else_the_fresher_one_is_better(void **state)
{
	const struct neighbour older = entry("10.0.0.5", 9), fresh = entry("10.0.0.6", 2);
	const struct in_addr unknown = { 0 };

	(void)state;
	assert_true(neighbour_is_better(&fresh, &older, unknown, 60));
	assert_false(neighbour_is_better(&older, &fresh, unknown, 60));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_entry_is_read),
		cmocka_unit_test(what_is_not_resolved_or_not_ethernet_is_none),
		cmocka_unit_test(a_message_cut_anywhere_is_none),
		cmocka_unit_test(an_entry_older_than_the_vm_is_no_answer),
		cmocka_unit_test(the_address_in_use_is_one_however_old),
		cmocka_unit_test(else_the_fresher_one_is_better),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
