/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"

static void random_hex_is_hex_of_its_length(void **state)
{
	char a[33], b[33];

	(void)state;
	fs_random_hex(a, 16);
	fs_random_hex(b, 16);
	assert_int_equal(strlen(a), 32);
	assert_int_equal(strspn(a, "0123456789abcdef"), 32);
	assert_string_not_equal(a, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_hex_is_hex_of_its_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
