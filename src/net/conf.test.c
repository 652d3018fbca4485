/* SPDX-License-Identifier: Apache-2.0 */
#include "net/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"

static int parse(const char *text, struct net_conf *conf, struct error *err)
{
	return net_conf_parse((struct slice){ (const uint8_t *)text, strlen(text) }, conf, err);
}

static void test_good(void **state)
{
	static const char *const good[] = {
		"subnet=10.77.0.0/16",
		"  subnet\t=  10.77.0.0/16  # ours\n\n",
		"# a comment\n#\n\n\nsubnet = 10.77.0.0/16\n",
	};
	auto_net_conf conf = NET_CONF_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parse("", &conf, &err), 0);
	assert_int_equal(conf.subnet.network, 0xc0a84000);
	for (size_t i = 0; i < array_size(good); i++) {
		assert_int_equal(parse(good[i], &conf, &err), 0);
		assert_int_equal(conf.subnet.network, 0x0a4d0000);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "x", "line 1: expected 'key = value'" },
		{ "\nsubnet =", "line 2: expected 'key = value'" },
		{ "subnets = 1", "line 1: unknown key 'subnets'" },
		{ "bridge = a/b", "line 1: 'a/b' is not an interface" },
		{ "bridge = 1234567890123456", "line 1: '1234567890123456' is not an interface" },
		{ "first-port = 65536", "line 1: '65536' is not a port" },
		{ "first-port = 0", "line 1: '0' is not a port" },
		{ "subnet = 192.168.128.0/20", "'subnet' and 'host-subnet' overlap" },
		{ "= 1", "line 1: unknown key ''" },
		{ "subnet = 10.0.0.0/24\nsubnet = 10.0.0.0/24", "line 2: 'subnet' is given twice" },
		{ "subnet = 10.0.0.0", "line 1: '10.0.0.0' is not a subnet like 192.168.64.0/24" },
		{ "subnet = 1111111111111111/24",
		  "line 1: '1111111111111111/24' is not a subnet like 192.168.64.0/24" },
	};
	auto_net_conf conf = NET_CONF_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_true(parse(bad[i].text, &conf, &err) < 0);
		assert_string_equal(err.text, bad[i].says);
		assert_int_equal(conf.subnet.prefix, 24);
	}
	assert_true(net_conf_parse((struct slice){ (const uint8_t *)"subnet = 1\0", 11 }, &conf,
				   &err) < 0);
	assert_string_equal(err.text, "a NUL byte");
}

static void test_users_rights(void **state)
{
	auto_net_conf conf = NET_CONF_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parse("", &conf, &err), 0);
	assert_int_equal(conf.bridges.len, 0);
	assert_int_equal(conf.first_port, 1024);
	assert_int_equal(conf.host_subnet.network, 0xc0a88000);
	assert_int_equal(parse("bridge = br0 \t eth1\nfirst-port=80\nhost-subnet = 10.1.0.0/24\n",
			       &conf, &err),
			 0);
	assert_int_equal(conf.bridges.len, 2);
	assert_string_equal(conf.bridges.items[1], "eth1");
	assert_int_equal(conf.first_port, 80);
	assert_int_equal(conf.host_subnet.network, 0x0a010000);
}

static void test_size(void **state)
{
	auto_free uint8_t *text = xmalloc(NET_CONF_SIZE_MAX + 1);
	auto_net_conf conf = NET_CONF_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	memset(text, '\n', NET_CONF_SIZE_MAX + 1);
	assert_int_equal(net_conf_parse((struct slice){ text, NET_CONF_SIZE_MAX }, &conf, &err), 0);
	assert_int_equal(net_conf_parse((struct slice){ text, NET_CONF_SIZE_MAX + 1 }, &conf, &err),
			 -E_TOO_BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_users_rights),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
