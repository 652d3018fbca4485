/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/lock.h"

static void a_free_file_has_no_owner(void **state)
{
	char path[] = "/var/tmp/linzer-test-lock-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(lock_record_owner(fd), 0);
	assert_int_equal(close(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_free_file_has_no_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
