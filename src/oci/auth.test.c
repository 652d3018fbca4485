/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "oci/auth.h"

static const char docker[] = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry."
			     "docker.io\",scope=\"repository:samalba/my-app:pull,push\"";

static void docker_s_challenge_is_read(void **state)
{
	auto_challenge c = CHALLENGE_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(challenge_parse(docker, &c, &err), 0);
	assert_int_equal(c.scheme, CHALLENGE_BEARER);
	assert_string_equal(c.realm, "https://auth.docker.io/token");
	assert_string_equal(c.service, "registry.docker.io");
	assert_string_equal(c.scope, "repository:samalba/my-app:pull,push");
}

static void forms_of_a_challenge(void **state)
{
	static const struct {
		const char *header;
		int r;
		enum challenge_scheme scheme;
		const char *realm;
	} cases[] = {
		{ "Bearer realm=b,c=\"d\"", 0, CHALLENGE_BEARER, "b" },
		{ "bEARER  realm = b , c = \"d\" ,", 0, CHALLENGE_BEARER, "b" },
		{ "Basic realm=\"a \\\"b\\\", c\"", 0, CHALLENGE_BASIC, "a \"b\", c" },
		{ "Basic realm=\"one\", Bearer realm=\"two\"", 0, CHALLENGE_BEARER, "two" },
		{ "Bearer realm=\"two\", Basic realm=\"one\"", 0, CHALLENGE_BEARER, "two" },
		{ "Negotiate, Basic realm=\"one\"", 0, CHALLENGE_BASIC, "one" },
		{ "Negotiate YWJj==, Basic realm=\"one\"", 0, CHALLENGE_BASIC, "one" },
		{ "Digest realm=\"x\", nonce=\"y\"", 0, CHALLENGE_OTHER, "x" },
		{ "Bearer realm=\"unterminated", 0, CHALLENGE_BEARER, "unterminated" },
		{ "Bearer realm=first,realm=second", 0, CHALLENGE_BEARER, "first" },
		{ "Bearer a=b,c=\"d\"", 0, CHALLENGE_NONE, NULL }, /* no realm: of no use */
		{ "Whatever", -E_INVALID, CHALLENGE_NONE, NULL },
		{ "Bearer ", -E_INVALID, CHALLENGE_NONE, NULL },
		{ "Bearer whatever", -E_INVALID, CHALLENGE_NONE, NULL },
		{ "", -E_INVALID, CHALLENGE_NONE, NULL },
		{ "realm=\"x\"", -E_INVALID, CHALLENGE_NONE, NULL },
		{ "Bearer realm=\"x\", \"y\"", -E_INVALID, CHALLENGE_NONE, NULL },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_challenge c = CHALLENGE_INIT;
		struct error err = ERROR_INIT;

		if (challenge_parse(cases[i].header, &c, &err) != cases[i].r)
			fail_msg("'%s': %s", cases[i].header, err.text);
		assert_int_equal(c.scheme, cases[i].scheme);
		if (cases[i].realm)
			assert_string_equal(c.realm, cases[i].realm);
		else
			assert_null(c.realm);
	}
}

static void the_best_of_several_headers_counts(void **state)
{
	auto_challenge c = CHALLENGE_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(challenge_parse("Basic realm=one", &c, &err), 0);
	assert_int_equal(challenge_parse("Bearer realm=two", &c, &err), 0);
	assert_int_equal(challenge_parse("Basic realm=three", &c, &err), 0);
	assert_string_equal(c.realm, "two");
}

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
		cmocka_unit_test(docker_s_challenge_is_read),
		cmocka_unit_test(forms_of_a_challenge),
		cmocka_unit_test(the_best_of_several_headers_counts),
		cmocka_unit_test(lives_of_tokens),
		cmocka_unit_test(what_is_no_token_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
