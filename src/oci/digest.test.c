/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "oci/digest.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void text_and_bytes(void **state)
{
	struct digest digest;
	char text[DIGEST_TEXT];

	(void)state;
	assert_int_equal(digest_parse("sha256:" HEX, &digest), 0);
	assert_int_equal(digest.bytes[0], 0xe3);
	assert_int_equal(digest.bytes[31], 0x55);
	digest_format(&digest, text);
	assert_string_equal(text, "sha256:" HEX);
}

static void everything_else_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"sha256:",
		HEX,
		"sha256:" HEX "0",
		"sha256:e3b0",
		"sha512:" HEX,
		"SHA256:" HEX,
		"sha256:E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"sha256:g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		" sha256:" HEX,
	};
	struct digest digest = { { 7 } };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(digest_parse(bad[i], &digest), -EINVAL);
	assert_int_equal(digest.bytes[0], 7);
}

static void order_is_by_value(void **state)
{
	struct digest a = { { 1 } }, b = { { 1, 1 } }, c = { { 0xff } };

	(void)state;
	assert_true(digest_equal(&a, &a));
	assert_false(digest_equal(&a, &b));
	assert_int_equal(digest_compare(&a, &a), 0);
	assert_true(digest_compare(&a, &b) < 0);
	assert_true(digest_compare(&c, &b) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_and_bytes),
		cmocka_unit_test(everything_else_is_refused),
		cmocka_unit_test(order_is_by_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
