/* SPDX-License-Identifier: Apache-2.0 */
#include "net/granted.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/vec.h"

static struct in_addr address(uint32_t n)
{
	return (struct in_addr){ n };
}

static void test_life(void **state)
{
	static struct granted g;

	(void)state;
	assert_true(granted_next(&g) == UINT64_MAX);
	assert_int_equal(granted_add(&g, "a.org", address(1), 0, 1000), 1);
	assert_true(g.items[0].until == 1000 + GRANTED_LIFE_MS); /* a TTL of 0 lives a minute */
	assert_int_equal(granted_add(&g, "a.org", address(2), 300, 1000), 1);
	assert_true(g.items[1].until == 301000);
	assert_int_equal(granted_add(&g, "a.org", address(3), UINT32_MAX, 0), 1);
	assert_true(g.items[2].until == GRANTED_LIFE_MAX_MS); /* 136 years do not */
}

static void test_again(void **state)
{
	static struct granted g;

	(void)state;
	assert_int_equal(granted_add(&g, "a.org", address(1), 600, 0), 1);
	assert_int_equal(granted_add(&g, "b.org", address(1), 0, 0), 0);
	assert_int_equal(g.count, 1);
	assert_true(g.items[0].until == 600000); /* not shorter */
	assert_true(granted_has(&g, address(1)));
	granted_remove(&g, 0);
	assert_false(granted_has(&g, address(1)));
}

static void test_full(void **state)
{
	static struct granted g;

	(void)state;
	for (uint32_t i = 0; i < GRANTED_MAX; i++)
		assert_int_equal(granted_add(&g, "a.org", address(i), 0, 0), 1);
	assert_int_equal(granted_add(&g, "a.org", address(GRANTED_MAX), 0, 0), -ENOSPC);
	assert_int_equal(granted_add(&g, "a.org", address(7), 0, 0), 0);
	granted_remove(&g, 0); /* the last one takes its place */
	assert_int_equal(g.items[0].address.s_addr, GRANTED_MAX - 1);
}

static void test_names(void **state)
{
	static struct granted g;
	auto_strings names = VEC_INIT;

	(void)state;
	strings_add(&names, "b.org");
	assert_int_equal(granted_add(&g, "*.a.org", address(1), 0, 0), 1);
	assert_false(granted_by(&g, 0, &names));
	strings_add(&names, "*.a.org");
	assert_true(granted_by(&g, 0, &names));
}

/* A guest whose names give an address each now and then must not cost a look at all flows for each.
 */
static void test_many_end_at_once(void **state)
{
	static struct granted g;
	uint64_t now = 0;
	size_t times = 0;

	(void)state;
	for (uint32_t i = 0; i < GRANTED_MAX; i++)
		assert_int_equal(granted_add(&g, "a.org", address(i), 0, i * 10), 1);
	for (; g.count > 0; times++) {
		assert_true(granted_next(&g) > now);
		now = granted_next(&g);
		for (size_t i = g.count; i-- > 0;) {
			assert_true(g.items[i].until + GRANTED_STEP_MS > now);
			if (g.items[i].until <= now)
				granted_remove(&g, i);
		}
	}
	assert_true(times <= GRANTED_MAX * 10 / GRANTED_STEP_MS + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_many_end_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
