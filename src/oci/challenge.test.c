/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "oci/challenge.h"

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
		{ "Bearer realm=\"unterminated", -E_INVALID, CHALLENGE_NONE, NULL },
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(docker_s_challenge_is_read),
		cmocka_unit_test(forms_of_a_challenge),
		cmocka_unit_test(the_best_of_several_headers_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
