/* SPDX-License-Identifier: Apache-2.0 */
#include "net/holder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static const struct subnet two[] = { { 0xc0a84000, 24 }, { 0xc0a88000, 29 } };

static void test_pools_there_and_back(void **state)
{
	struct subnet pools[HOLDER_POOLS_MAX];
	char text[HOLDER_TEXT_MAX];
	size_t count = 0;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(holder_pools_write(two, array_size(two), text, &err), 0);
	assert_string_equal(text, "192.168.64.0/24,192.168.128.0/29");
	assert_int_equal(holder_pools_read(text, pools, &count, &err), 0);
	assert_int_equal(count, 2);
	assert_memory_equal(pools, two, sizeof(two));
}

static void test_as_many_as_there_can_be(void **state)
{
	const struct subnet one = { 0xdfffffe0, 29 };
	struct subnet many[HOLDER_POOLS_MAX + 1], pools[HOLDER_POOLS_MAX];
	char text[HOLDER_TEXT_MAX];
	size_t count = 0;
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(many); i++)
		many[i] = one;
	assert_int_equal(holder_pools_write(many, HOLDER_POOLS_MAX, text, &err), 0);
	assert_int_equal(holder_pools_read(text, pools, &count, &err), 0);
	assert_int_equal(count, HOLDER_POOLS_MAX);
	assert_int_equal(holder_pools_write(many, array_size(many), text, &err), -E_INVALID);
	assert_int_equal(holder_pools_write(many, 0, text, &err), -E_INVALID);
}

static void test_pools_that_are_none(void **state)
{
	static const char *const bad[] = {
		"",
		",",
		"192.168.64.0/24,",
		"192.168.64.0",
		"192.168.64.1/24",
		"192.168.64.0/24 ",
		"10.0.0.0/16,10.1.0.0/16,10.2.0.0/16,10.3.0.0/16,10.4.0.0/16",
	};
	char longer[HOLDER_TEXT_MAX + 1];
	struct subnet pools[HOLDER_POOLS_MAX];
	size_t count;
	struct error err = ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(holder_pools_read(bad[i], pools, &count, &err), -E_INVALID);
	memset(longer, '1', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(holder_pools_read(longer, pools, &count, &err), -E_INVALID);
}

static void test_holder_holds_nothing_but_a_namespace_of_its_own(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(holder_main("/nowhere", "192.168.64.0/24", &err), -EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pools_there_and_back),
		cmocka_unit_test(test_as_many_as_there_can_be),
		cmocka_unit_test(test_pools_that_are_none),
		cmocka_unit_test(test_holder_holds_nothing_but_a_namespace_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
