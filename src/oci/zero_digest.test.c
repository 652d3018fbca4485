/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "oci/hash.h"
#include "oci/zero_digest.h"

static struct disk_slice slice_of(const char *content, uint64_t length)
{
	struct disk_slice slice = { .length = length };

	assert_int_equal(digest_parse(content, &slice.content), 0);
	return slice;
}

/* sha256sum of that many bytes of /dev/zero */
static const char mib[] = "sha256:30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58";
static const char one[] = "sha256:6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";

static void zeroes_are_known_by_their_digest(void **state)
{
	struct zero_digests zero = ZERO_DIGESTS_INIT;
	struct disk_slice a = slice_of(mib, 1 << 20), b = slice_of(one, 1);
	struct disk_slice wrong = slice_of(mib, 1);

	(void)state;
	assert_true(zero_is_slice(&zero, &a));
	assert_true(zero_is_slice(&zero, &b));
	assert_true(zero_is_slice(&zero, &a));
	assert_false(zero_is_slice(&zero, &wrong));
	assert_int_equal(zero.count, 2);
}

static void lengths_beyond_the_limits_cost_nothing(void **state)
{
	struct zero_digests zero = ZERO_DIGESTS_INIT;
	struct disk_slice huge = slice_of(one, ZERO_LENGTH_MAX + 1);

	(void)state;
	assert_false(zero_is_slice(&zero, &huge));
	assert_int_equal(zero.count, 0);
	for (uint64_t length = 1; length < 100; length++) {
		struct disk_slice slice = slice_of(mib, length);

		assert_false(zero_is_slice(&zero, &slice));
	}
	assert_int_equal(zero.count, ZERO_LENGTHS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zeroes_are_known_by_their_digest),
		cmocka_unit_test(lengths_beyond_the_limits_cost_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
