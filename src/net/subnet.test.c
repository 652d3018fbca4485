/* SPDX-License-Identifier: Apache-2.0 */
#include "net/subnet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/error.h"

static const struct subnet pool = { .network = 0xc0a84000, .prefix = 24 };

static struct in_addr ip(const char *text)
{
	struct in_addr address = { 0 };

	assert_int_equal(inet_pton(AF_INET, text, &address), 1);
	return address;
}

static void test_parse(void **state)
{
	static const char *const bad[] = {
		"",
		"/",
		"192.168.64.0",
		"192.168.64.0/",
		"/24",
		"192.168.64.0/15",
		"192.168.64.0/30",
		"192.168.64.0/99",
		"192.168.64.0/24x",
		"192.168.64.0/-1",
		"192.168.64.1/24",
		"192.168/24",
		"1922.168.64.0000000/24",
		"127.0.0.0/24",
		"0.0.0.0/24",
		"224.0.0.0/24",
		"240.1.0.0/16",
		"::/24",
	};
	struct subnet subnet = pool;
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_int_equal(subnet_parse(bad[i], &subnet, &err), -E_INVALID);
		assert_int_equal(subnet.network, pool.network);
	}
	assert_int_equal(subnet_parse("10.77.0.0/16", &subnet, &err), 0);
	assert_int_equal(subnet.network, 0x0a4d0000);
	assert_int_equal(subnet.prefix, 16);
}

static void test_pool(void **state)
{
	const struct subnet *s = &pool;

	(void)state;
	assert_int_equal(subnet_gateway(s).s_addr, ip("192.168.64.1").s_addr);
	assert_int_equal(subnet_guests(s), 253);
	assert_int_equal(subnet_guest(s, 0).s_addr, ip("192.168.64.2").s_addr);
	assert_int_equal(subnet_guest(s, 252).s_addr, ip("192.168.64.254").s_addr);
	assert_int_equal(subnet_guest(s, 253).s_addr, ip("192.168.64.2").s_addr);
	assert_true(subnet_has_guest(s, ip("192.168.64.2")));
	assert_true(subnet_has_guest(s, ip("192.168.64.254")));
	assert_false(subnet_has_guest(s, ip("192.168.64.255")));
	assert_false(subnet_has_guest(s, ip("192.168.64.1")));
	assert_false(subnet_has_guest(s, ip("192.168.64.0")));
	assert_false(subnet_has_guest(s, ip("192.168.63.9")));
	assert_false(subnet_has_guest(s, ip("0.0.0.0")));
}

static void test_names(void **state)
{
	static const char *const bad[] = { "",		 "lz",	 "lzc0a8402", "lzc0a840022",
					   "lzC0A84002", "eth0", "lzc0a8400g" };
	char name[SUBNET_NAME_SIZE];
	struct in_addr address;

	(void)state;
	subnet_interface(ip("192.168.64.2"), name);
	assert_string_equal(name, "lzc0a84002");
	assert_true(subnet_interface_address(name, &address));
	assert_int_equal(address.s_addr, ip("192.168.64.2").s_addr);
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(subnet_interface_address(bad[i], &address));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
