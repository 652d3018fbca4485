/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "oci/http.h"
#include "oci/retry.h"

enum { NOW = 784111700 }; /* 77 seconds before RFC 9110's example of a date */

static void retry_after_is_read(void **state)
{
	static const struct {
		const char *value;
		uint64_t ms;
	} cases[] = {
		{ NULL, 0 },
		{ "0", 0 },
		{ "7", 7000 },
		{ "299", 299000 },
		{ "301", RETRY_AFTER_MAX_MS },
		{ "99999999999999999999999999", 0 },
		{ "18446744073709551615", RETRY_AFTER_MAX_MS },
		{ "-1", 0 },
		{ "soon", 0 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", 77000 },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", 77000 },
		{ "Sun, 06 Nov 1994 08:40:00 GMT", 0 },
		{ "Sun, 06 Nov 2094 08:40:00 GMT", RETRY_AFTER_MAX_MS },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++)
		if (retry_after_ms(cases[i].value, NOW) != cases[i].ms)
			fail_msg("%s", cases[i].value);
}

static void statuses_that_pass(void **state)
{
	static const int passing[] = { 408, 429, 500, 502, 503, 504 };
	static const int lasting[] = { 200, 301, 400, 401, 403, 404, 416 };
	char after[] = "1";
	struct http_response limited = { .status = 403, .retry_after = after };

	(void)state;
	for (size_t i = 0; i < array_size(passing); i++)
		assert_true(retry_is_transient(&(struct http_response){ .status = passing[i] }));
	for (size_t i = 0; i < array_size(lasting); i++)
		assert_false(retry_is_transient(&(struct http_response){ .status = lasting[i] }));
	assert_true(retry_is_transient(&limited));
}

static void note(void *arg, const char *text)
{
	unsigned *count = arg;

	assert_true(strncmp(text, "retrying in ", 12) == 0);
	assert_non_null(strstr(text, " s: it broke"));
	++*count;
}

static void five_tries_and_no_more(void **state)
{
	unsigned count = 0;
	const struct retry_policy policy = { .base_ms = 1, .notice = note, .arg = &count };
	struct retry retry = { .policy = &policy };
	struct error err = ERROR_INIT;

	(void)state;
	(void)error_set(&err, E_FAILED, "it broke");
	for (int i = 0; i < 4; i++)
		assert_int_equal(retry_wait(&retry, NULL, &err), 0);
	assert_int_equal(retry_wait(&retry, NULL, &err), -E_FAILED);
	assert_string_equal(err.text, "it broke");
	assert_int_equal(count, 4);
	assert_int_equal(retry.failures, RETRY_TRIES);
}

static void the_wait_is_what_was_asked_for(void **state)
{
	const struct retry_policy policy = { .base_ms = 0 };
	struct retry retry = { .policy = &policy };
	struct error err = { .code = E_FAILED };
	uint64_t before = clock_ms();

	(void)state;
	assert_int_equal(retry_wait(&retry, "1", &err), 0);
	assert_true(clock_ms() - before >= 1000);
}

static bool yes(void *arg)
{
	(void)arg;
	return true;
}

static void a_wait_can_be_cancelled(void **state)
{
	const struct retry_policy policy = { .base_ms = 0, .cancelled = yes };
	struct retry retry = { .policy = &policy };
	struct error err = { .code = E_FAILED };

	(void)state;
	assert_int_equal(retry_wait(&retry, "300", &err), -E_CANCELLED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(retry_after_is_read),
		cmocka_unit_test(statuses_that_pass),
		cmocka_unit_test(five_tries_and_no_more),
		cmocka_unit_test(the_wait_is_what_was_asked_for),
		cmocka_unit_test(a_wait_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
