/* SPDX-License-Identifier: Apache-2.0 */

/* Helpers that are missing, broken or hostile; the real one is tested by tests/test_net_*.py. */

#include "net/helper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"

static int start_with(const char *program, struct error *err)
{
	const struct net_start start = { .mode = NET_SHARED, .mac = { 2, 0, 0, 0, 0, 1 } };
	auto_policy policy = POLICY_INIT;
	struct net_link link;
	struct net_message started;
	int tap = -7, r;

	assert_int_equal(setenv("LINZER_NET", program, 1), 0);
	r = net_link_start(&link, &start, &policy, &started, &tap, err);
	assert_int_equal(tap, -7);
	assert_int_equal(link.sock, -1);
	return r;
}

static void test_missing(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(start_with("/nonexistent/linzer-net", &err), -E_MISSING_TOOL);
	assert_string_equal(err.text, "failed to start the network: cannot run "
				      "'/nonexistent/linzer-net': not found");
}

static void test_ends_at_once(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(start_with("/bin/true", &err) < 0);
	assert_true(str_starts(err.text, "failed to start the network: "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_ends_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
