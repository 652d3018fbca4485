/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The text for nft against src/net/rules.golden; UPDATE_GOLDEN=1 writes it
 * anew, to be read before it is committed.
 */

#include "net/rules.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/fs.h"

static const struct rules_guest guest = {
	.name = "lzc0a84002",
	.mac = { 0x52, 0x54, 0, 0x12, 0x34, 0xff },
	.prefix = 24,
	.dns_udp = 40001,
	.dns_tcp = 40002,
	.bound = { .flows = 32768, .all_flows = 131072, .rate = 1024, .all_rate = 4096 },
};

static struct rules_guest addressed(void)
{
	struct rules_guest g = guest;

	g.address.s_addr = htonl(0xc0a84002);
	g.gateway.s_addr = htonl(0xc0a84001);
	return g;
}

static void test_golden(void **state)
{
	struct rules_guest g = addressed();
	auto_str text = STR_INIT, golden = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	str_adds(&text, "## skeleton\n");
	rules_add_skeleton(&text);
	str_adds(&text, "## guest\n");
	rules_add_guest(&text, &g);
	str_adds(&text, "## opened\n");
	rules_clear_opened(&text);
	rules_add_opened(&text, "eth0");
	str_adds(&text, "## remove\n");
	rules_remove_guest(&text, &g);
	str_adds(&text, "## sweep\n");
	rules_sweep_guest(&text, "lzc0a84002", g.gateway);
	rules_sweep_guest(&text, "lo\"; flush ruleset", g.gateway);
	str_adds(&text, "## drop\n");
	rules_drop_tables(&text);
	str_adds(&text, "## lists\n");
	str_adds(&text, RULES_LIST_TAPS RULES_LIST_OPENED);
	if (getenv("UPDATE_GOLDEN"))
		assert_int_equal(fs_replace_file(AT_FDCWD, GOLDEN, text.ptr, text.len, 0644, &err),
				 0);
	assert_int_equal(fs_read_file(AT_FDCWD, GOLDEN, 1 << 20, &golden, &err), 0);
	assert_string_equal(text.ptr, golden.ptr);
}

static void test_names(void **state)
{
	static const char *const bad[] = { "",	   "a b",    "a\"",
					   "eth*", "eth0\n", "a/b",
					   "a{b}", "a;b",    "1234567890123456" };

	(void)state;
	assert_true(rules_is_plain_name("eth0.100"));
	assert_true(rules_is_plain_name("123456789012345"));
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(rules_is_plain_name(bad[i]));
}

static void test_read(void **state)
{
	static const char answer[] =
		"table inet linzer {\n\tmap taps {\n\t\ttype ifname : ipv4_addr\n"
		"\t\telements = { \"lzc0a84002\" : 192.168.64.1,\n"
		"\t\t\t     \"eth0\" : 192.168.64.1, \"lzc0a84003\",\n"
		"\t\t\t     \"lzc0a84004\" : 192.168.64.1111111111,\n"
		"\t\t\t     \"lzc0a84005\" : 10.0.0.1 }\n\t}\n}\n\"unfinished";
	struct rules_taps taps = VEC_INIT;
	auto_strings names = VEC_INIT;

	(void)state;
	rules_read_taps(answer, &taps);
	assert_int_equal(taps.len, 2);
	assert_string_equal(taps.items[0].name, "lzc0a84002");
	assert_string_equal(taps.items[1].name, "lzc0a84005");
	assert_int_equal(ntohl(taps.items[1].gateway.s_addr), 0x0a000001);
	rules_taps_release(&taps);
	rules_read_opened(
		"elements = { \"eth0\", \"a b\", \"much-too-long-to-be-a-name\", \"\",\n \"w1\" }",
		&names);
	assert_int_equal(names.len, 2);
	assert_string_equal(names.items[0], "eth0");
	assert_string_equal(names.items[1], "w1");
}

/* A guest has its part, and with what closed TCP has all guests leave the host its own. */
static void test_bounds(void **state)
{
	static const uint32_t tables[] = { 4096, 65536, 262144, 1 << 22, 0 };

	(void)state;
	for (size_t i = 0; i < array_size(tables); i++) {
		struct rules_bound b = rules_bound_of(tables[i]);
		uint32_t table = tables[i] ? tables[i] : 262144;

		assert_in_range(b.flows, 1, 32768);
		assert_in_range(b.flows + 11 * b.rate, 1, table / 4);
		assert_in_range(b.all_flows + 11 * b.all_rate, 1, table / 4 * 3);
	}
	assert_int_equal(rules_bound_of(262144).flows, 32768);
	assert_int_equal(rules_bound_of(262144).all_flows, 131072);
	assert_true(rules_bound_of(1).flows > 0 && rules_bound_of(1).rate > 0);
	assert_in_range(rules_bound_of(UINT32_MAX).all_flows, 1, 65535 * 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
