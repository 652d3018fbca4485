/* SPDX-License-Identifier: Apache-2.0 */
#include "net/prefix.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static struct slice slice_of(const char *text)
{
	return (struct slice){ (const uint8_t *)text, strlen(text) };
}

static void test_good(void **state)
{
	static const struct {
		const char *text;
		uint32_t address;
		uint8_t bits;
	} good[] = {
		{ "0.0.0.0/0", 0, 0 },
		{ "10.0.0.0/8", 0x0a000000, 8 },
		{ "10.1.2.3/8", 0x0a000000, 8 },
		{ "10.1.2.3/31", 0x0a010202, 31 },
		{ "10.1.2.3/32", 0x0a010203, 32 },
		{ "10.1.2.3", 0x0a010203, 32 },
		{ "255.255.255.255/32", 0xffffffff, 32 },
		{ "255.255.255.255/0", 0, 0 },
	};
	struct prefix prefix;
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(good); i++) {
		assert_int_equal(prefix_parse(slice_of(good[i].text), &prefix, &err), 0);
		assert_int_equal(ntohl(prefix.address.s_addr), good[i].address);
		assert_int_equal(prefix.bits, good[i].bits);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "", "'' is not an IPv4 address" },
		{ "/8", "'' is not an IPv4 address" },
		{ "10.0.0.300", "'10.0.0.300' is not an IPv4 address" },
		{ "1.2.3", "'1.2.3' is not an IPv4 address" },
		{ "010.0.0.1", "'010.0.0.1' is not an IPv4 address" },
		{ " 10.0.0.1", "' 10.0.0.1' is not an IPv4 address" },
		{ "10.0.0.0/", "'/' is not a prefix between /0 and /32" },
		{ "10.0.0.0/33", "'/33' is not a prefix between /0 and /32" },
		{ "10.0.0.0/-1", "'/-1' is not a prefix between /0 and /32" },
		{ "10.0.0.0/8/8", "'/8/8' is not a prefix between /0 and /32" },
		{ "255.255.255.255/032", "not an IPv4 address or CIDR" },
		{ "::1", "IPv6 is not supported" },
		{ "2001:db8::/32", "IPv6 is not supported" },
		{ "fe80::1%eth0/64", "IPv6 is not supported" },
		{ "::ffff:10.0.0.1", "IPv6 is not supported" },
		{ "[::1]", "IPv6 is not supported" },
	};
	struct prefix prefix = { .bits = 77 };
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_int_equal(prefix_parse(slice_of(bad[i].text), &prefix, &err), -E_INVALID);
		assert_string_equal(err.text, bad[i].says);
		assert_int_equal(prefix.bits, 77);
	}
}

static void test_nul_byte(void **state)
{
	struct slice text = { (const uint8_t *)"10.0.0.1\0x", 10 };
	struct prefix prefix;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(prefix_parse(text, &prefix, &err), -E_INVALID);
}

static void test_holds(void **state)
{
	const struct in_addr network = { htonl(0xac100000) };

	(void)state;
	assert_true(prefix_holds(network, 12, (struct in_addr){ htonl(0xac100000) }));
	assert_true(prefix_holds(network, 12, (struct in_addr){ htonl(0xac1fffff) }));
	assert_false(prefix_holds(network, 12, (struct in_addr){ htonl(0xac200000) }));
	assert_false(prefix_holds(network, 12, (struct in_addr){ htonl(0xac0fffff) }));
	assert_false(prefix_holds(network, 32, (struct in_addr){ htonl(0xac100001) }));
	assert_true(prefix_holds((struct in_addr){ 0 }, 0, network));
}

static void test_mask(void **state)
{
	(void)state;
	assert_int_equal(ntohl(prefix_mask(0)), 0);
	assert_int_equal(ntohl(prefix_mask(1)), 0x80000000);
	assert_int_equal(ntohl(prefix_mask(31)), 0xfffffffe);
	assert_int_equal(ntohl(prefix_mask(32)), 0xffffffff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	 cmocka_unit_test(test_bad),
		cmocka_unit_test(test_nul_byte), cmocka_unit_test(test_holds),
		cmocka_unit_test(test_mask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
