/* SPDX-License-Identifier: Apache-2.0 */
#include "run/net_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"

static void test_targets(void **state)
{
	auto_strings targets = VEC_INIT;

	(void)state;
	net_options_add_targets(&targets, "");
	net_options_add_targets(&targets, "  ");
	assert_int_equal(targets.len, 0);
	net_options_add_targets(&targets, "10.0.0.0/8, out @host ,, example.org");
	net_options_add_targets(&targets, "@host");
	assert_int_equal(targets.len, 5);
	assert_string_equal(targets.items[0], "10.0.0.0/8");
	assert_string_equal(targets.items[1], "out @host");
	assert_string_equal(targets.items[2], "");
	assert_string_equal(targets.items[3], "example.org");
	assert_string_equal(targets.items[4], "@host");
}

static void test_check_names_the_list(void **state)
{
	auto_strings good = VEC_INIT, bad = VEC_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	strings_add(&good, "@host");
	strings_add(&bad, "10.0.0.0/33");
	assert_int_equal(net_options_check_targets(&good, &good, &err), 0);
	assert_int_equal(net_options_check_targets(&bad, &good, &err), -E_INVALID);
	assert_true(str_starts(err.text, "allow: ") && strstr(err.text, "10.0.0.0/33"));
	assert_int_equal(net_options_check_targets(&good, &bad, &err), -E_INVALID);
	assert_true(str_starts(err.text, "block: "));
}

static void test_exposed(void **state)
{
	struct net_options options = NET_OPTIONS_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(net_options_add_exposed(&options, "2222:22, 65535:1", &err), 0);
	assert_int_equal(net_options_add_exposed(&options, "80:80", &err), 0);
	assert_int_equal(options.exposed_count, 3);
	assert_int_equal(options.exposed[0].host, 2222);
	assert_int_equal(options.exposed[0].guest, 22);
	assert_int_equal(options.exposed[1].host, 65535);
	assert_int_equal(options.exposed[2].guest, 80);
}

static void refuses(const char *list, const char *text)
{
	struct net_options options = NET_OPTIONS_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(net_options_add_exposed(&options, list, &err), -E_INVALID);
	if (!strstr(err.text, text))
		fail_msg("'%s': %s", list, err.text);
}

static void test_exposed_mistakes(void **state)
{
	auto_str many = STR_INIT;

	(void)state;
	refuses("22", "'22' is not EXTERNAL:INTERNAL");
	refuses("80:80,", "'' is not EXTERNAL:INTERNAL");
	refuses("0:22", "a port is a number from 1 to 65535");
	refuses("65536:22", "a port is");
	refuses("22:", "a port is");
	refuses(":22", "a port is");
	refuses("22:-1", "a port is");
	refuses("22:+1", "a port is");
	refuses("022:22", "a port is");
	refuses("1:2:3", "a port is");
	refuses("ssh:22", "a port is");
	refuses("80:80,81:80,80:90", "port 80 of the host is given twice");
	for (int i = 0; i <= NET_EXPOSED_MAX; i++)
		str_addf(&many, "%s%d:22", i ? "," : "", 1000 + i);
	refuses(many.ptr, "more than 64 ports");
}

static void test_interfaces(void **state)
{
	auto_strings names = VEC_INIT, wanted = VEC_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(net_interfaces_list(&names, &err), 0);
	for (size_t i = 0; i < names.len; i++)
		assert_string_not_equal(names.items[i], "lo");
	assert_int_equal(net_interfaces_check(&names, &err), 0);
	strings_add(&wanted, "lo");
	strings_add(&wanted, "nonesuch");
	assert_int_equal(net_interfaces_check(&wanted, &err), -E_USAGE);
	assert_true(str_starts(err.text, "no bridge interfaces matched \"[lo, nonesuch]\", "
					 "available interfaces: ["));
	strings_release(&wanted);
	wanted = (struct strings)VEC_INIT;
	strings_add(&wanted, "list");
	assert_int_equal(net_interfaces_check(&wanted, &err), -E_USAGE);
	assert_true(str_starts(err.text, "no bridge interfaces matched \"[list]\", "));
}

static void control(int fd, const char *text)
{
	struct error err = ERROR_INIT;

	assert_int_equal(net_control_check(fd, &err), -E_USAGE);
	assert_non_null(strstr(err.text, text));
}

static void test_control(void **state)
{
	struct error err = ERROR_INIT;
	int good[2], datagram[2], tube[2], alone = socket(AF_UNIX, SOCK_STREAM, 0);
	int inet = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, good), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram), 0);
	assert_int_equal(pipe(tube), 0);
	assert_int_equal(net_control_check(good[0], &err), 0);
	control(0, "above 2");
	control(2, "above 2");
	control(datagram[0], "not a connected Unix stream socket");
	control(tube[0], "not a connected");
	control(alone, "not a connected");
	control(inet, "not a connected");
	control(60000, "not a connected");
	for (int i = 0; i < 2; i++) {
		(void)close(good[i]);
		(void)close(datagram[i]);
		(void)close(tube[i]);
	}
	(void)close(alone);
	(void)close(inet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_targets),	   cmocka_unit_test(test_check_names_the_list),
		cmocka_unit_test(test_exposed),	   cmocka_unit_test(test_exposed_mistakes),
		cmocka_unit_test(test_interfaces), cmocka_unit_test(test_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
