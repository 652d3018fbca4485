/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/compressed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static bool detected(const char *bytes, size_t len)
{
	auto_fd fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	return compressed_detect(fd);
}

static void each_magic(void **state)
{
	(void)state;
	assert_true(detected("\x1f\x8b\x08\0\0\0\0\0\0\3", 10));
	assert_true(detected("BZh91AY&SY", 10));
	assert_true(detected("\xfd"
			     "7zXZ\0\0\4",
			     8));
	assert_true(detected("\x28\xb5\x2f\xfd\x04", 5));
}

static void nothing_else(void **state)
{
	(void)state;
	assert_false(detected("", 0));
	assert_false(detected("\x1f\x8b", 2));
	assert_false(detected("\xfd"
			      "7zXZ",
			      5));
	assert_false(detected("QFI\xfb\0\0\0\3", 8));
	assert_false(detected("\xeb\x63\x90\0\0\0\0\0", 8)); /* a boot sector */
	assert_false(compressed_detect(-1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_magic),
		cmocka_unit_test(nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
