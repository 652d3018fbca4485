/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "oci/token_json.h"

static int parse(const char *text, struct token *token)
{
	struct error err = ERROR_INIT;

	return token_parse(text, strlen(text), 1000, token, &err);
}

static void lives_of_tokens(void **state)
{
	static const struct {
		const char *text;
		time_t expires;
	} cases[] = {
		{ "{\"token\":\"t\"}", 1060 },
		{ "{\"access_token\":\"t\"}", 1060 },
		{ "{\"token\":\"t\",\"access_token\":\"u\",\"expires_in\":2000}", 3000 },
		{ "{\"token\":\"t\",\"issued_at\":\"1970-01-01T00:00:00Z\",\"expires_in\":3600}",
		  3600 },
		{ "{\"token\":\"t\",\"issued_at\":\"1970-01-01T01:00:00.123+01:00\"}", 60 },
		{ "{\"token\":\"t\",\"issued_at\":\"yesterday\"}", 1060 },
		{ "{\"token\":\"t\",\"issued_at\":\"1970-01-01T00:00:00\"}", 1060 },
		{ "{\"token\":\"t\",\"issued_at\":5}", 1060 },
		{ "{\"token\":\"t\",\"expires_in\":-5}", 1000 },
		{ "{\"token\":\"t\",\"expires_in\":9223372036854775807}", 1000 + 315360000 },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_token token = TOKEN_INIT;

		assert_int_equal(parse(cases[i].text, &token), 0);
		assert_string_equal(token.text, "t");
		assert_int_equal(token.expires, cases[i].expires);
	}
}

static void what_is_no_token_is_refused(void **state)
{
	static const char *const texts[] = {
		"{}",
		"[]",
		"{\"token\":\"\"}",
		"{\"token\":5}",
		"{\"token\":\"a\\r\\nHost: b\"}", /* would become a header of its own */
		"{\"token\":\"\\u00e4\"}",
		"{\"token\":\"t\",\"expires_in\":\"60\"}",
		"{\"token\":\"t\"",
	};
	struct token token = TOKEN_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(texts); i++) {
		assert_int_equal(parse(texts[i], &token), -E_INVALID);
		assert_null(token.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lives_of_tokens),
		cmocka_unit_test(what_is_no_token_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
