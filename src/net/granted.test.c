/* SPDX-License-Identifier: Apache-2.0 */
#include "net/granted.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/vec.h"

static struct granted granted;

static int add(uint32_t address, uint32_t ttl, uint64_t now)
{
	return granted_add(&granted, "example.org", (struct in_addr){ address }, ttl, now);
}

static int reset(void **state)
{
	(void)state;
	granted.count = 0;
	return 0;
}

static void test_full(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < GRANTED_MAX; i++)
		assert_int_equal(add(i, 0, 0), 1);
	assert_int_equal(add(GRANTED_MAX, 0, 0), -ENOSPC);
	assert_int_equal(add(0, 0, 0), 0);
	granted_remove(&granted, 0);
	assert_int_equal(add(GRANTED_MAX, 0, 0), 1);
}

static void test_lives_as_long_as_promised(void **state)
{
	(void)state;
	for (uint64_t now = 0; now < 3 * GRANTED_STEP_MS; now += 7) {
		granted.count = 0;
		assert_int_equal(add(1, 0, now), 1);
		assert_true(granted_next(&granted) >= now + GRANTED_LIFE_MS);
		assert_true(granted_next(&granted) < now + GRANTED_LIFE_MS + GRANTED_STEP_MS);
	}
	granted.count = 0;
	assert_int_equal(add(1, UINT32_MAX, 0), 1);
	assert_true(granted_next(&granted) >= UINT64_C(1000) * UINT32_MAX);
}

/* A guest whose names give an address each now and then must not cost a look at all flows for each.
 */
static void test_many_end_at_once(void **state)
{
	size_t times = 0;

	(void)state;
	for (uint32_t i = 0; i < GRANTED_MAX; i++) {
		assert_int_equal(add(i, 0, i * 10), 1);
		if (i == 0 || granted.items[i].until != granted.items[i - 1].until)
			times++;
	}
	assert_true(times <= GRANTED_MAX * 10 / GRANTED_STEP_MS + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_full, reset),
		cmocka_unit_test_setup(test_lives_as_long_as_promised, reset),
		cmocka_unit_test_setup(test_many_end_at_once, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
