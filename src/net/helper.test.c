/* SPDX-License-Identifier: Apache-2.0 */

/* Helpers that are missing, broken or hostile; the real one is tested by tests/test_net_*.py. */

#include "net/helper.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/scratch.h"
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

static int make_directory(void **state)
{
	static struct scratch scratch;

	*state = &scratch;
	return scratch_open(&scratch, scratch_place());
}

static int remove_directory(void **state)
{
	return scratch_close(*state);
}

static void write_program(const char *path, mode_t mode)
{
	static const char text[] = "#!/bin/false\n";
	struct error err = ERROR_INIT;

	assert_int_equal(fs_replace_file(AT_FDCWD, path, text, strlen(text), mode, &err), 0);
}

/* Whoever may not run it gets the copy without capabilities, else is told what to do. */
static void test_not_allowed(void **state)
{
	struct scratch *dir = *state;
	auto_free char *path = str_format("%s/linzer-net", dir->path);
	auto_free char *plain = str_format("%s/linzer-net-plain", dir->path);
	auto_free char *said = str_format("failed to start the network: you may not run '%s': join "
					  "the group 'linzer' ('adduser USER linzer', then log in "
					  "again)",
					  path);
	struct error err = ERROR_INIT;

	write_program(path, 0600);
	assert_int_equal(start_with(path, &err), -EPERM);
	assert_string_equal(err.text, said);
	write_program(plain, 0700);
	assert_true(start_with(path, &err) < 0);
	assert_null(strstr(err.text, "may not run"));
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
		cmocka_unit_test_setup_teardown(test_not_allowed, make_directory, remove_directory),
		cmocka_unit_test(test_ends_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
