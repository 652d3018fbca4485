/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/attr.h"

static bool global(const char *text)
{
	struct in_addr address;

	assert_int_equal(inet_pton(AF_INET, text, &address), 1);
	return address_is_global(address);
}

static void cards_come_first(void **state unused_)
{
	assert_int_equal(address_rank("enp0s2"), 2);
	assert_int_equal(address_rank("eth0"), 2);
	assert_int_equal(address_rank("wlan0"), 1);
	assert_int_equal(address_rank("docker0"), 0);
	assert_int_equal(address_rank("br-0123456789ab"), 0);
	assert_int_equal(address_rank("veth12"), 0);
	assert_int_equal(address_rank("lo"), 0);
}

static void only_global_unicast_counts(void **state unused_)
{
	assert_true(global("192.168.64.2"));
	assert_true(global("8.8.8.8"));
	assert_false(global("0.0.0.0"));
	assert_false(global("127.0.0.1"));
	assert_false(global("169.254.1.1"));
	assert_false(global("224.0.0.1"));
	assert_false(global("255.255.255.255"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cards_come_first),
		cmocka_unit_test(only_global_unicast_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
