/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "oci/name.h"

#define EMPTY "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void assert_parses(const char *text, const char *host, const char *repository,
			  const char *tag, const char *digest)
{
	auto_oci_name name = OCI_NAME_INIT;
	struct error err = ERROR_INIT;

	if (oci_name_parse(text, &name, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	assert_true(oci_name_is_remote(text));
	if (host)
		assert_string_equal(name.host, host);
	else
		assert_null(name.host);
	assert_string_equal(name.repository, repository);
	if (tag)
		assert_string_equal(name.tag, tag);
	else
		assert_null(name.tag);
	if (digest)
		assert_string_equal(name.digest, digest);
	else
		assert_null(name.digest);
	assert_string_equal(oci_name_reference(&name), tag ? tag : digest);
}

static void assert_refused(const char *text, const char *why)
{
	struct oci_name name = OCI_NAME_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(oci_name_parse(text, &name, &err), -E_FAILED);
	assert_true(str_starts(err.text, "failed to parse remote name: "));
	if (!strstr(err.text, why))
		fail_msg("'%s': '%s' is not in '%s'", text, why, err.text);
	assert_null(name.repository);
	assert_false(oci_name_is_remote(text));
}

static void names_of_registries(void **state)
{
	(void)state;
	assert_parses("ghcr.io/a/b", "ghcr.io", "a/b", "latest", NULL);
	assert_parses("ghcr.io/a/b:latest", "ghcr.io", "a/b", "latest", NULL);
	assert_parses("ghcr.io/a/b:1.2.3-RC-1", "ghcr.io", "a/b", "1.2.3-RC-1", NULL);
	assert_parses("ghcr.io/a/b@" EMPTY, "ghcr.io", "a/b", NULL, EMPTY);
	assert_parses("127.0.0.1:8080/a/b", "127.0.0.1:8080", "a/b", "latest", NULL);
	assert_parses("127.0.0.1:8080/a/b:x_y", "127.0.0.1:8080", "a/b", "x_y", NULL);
	assert_parses("a/b", "a", "b", "latest", NULL);
	assert_parses("my-host.example/A_b.c-d/e-:t", "my-host.example", "A_b.c-d/e-", "t", NULL);
}

static void what_is_no_name_says_where(void **state)
{
	(void)state;
	assert_refused("debian:latest", "unexpected 'l' (character 8)");
	assert_refused("debian", "unexpected end (character 7)");
	assert_refused("", "unexpected end (character 1)");
	assert_refused("127.0.0.1:/a/b", "unexpected '/' (character 11)");
	assert_refused("host:65536/a", "unexpected '6' (character 10)");
	assert_refused("ghcr.io/a/../b/c:latest", "unexpected '.' (character 11)");
	assert_refused("ghcr.io/a/./b", "unexpected '.'");
	assert_refused("ghcr.io//a", "unexpected '/' (character 9)");
	assert_refused("/a/b", "unexpected '/' (character 1)");
	assert_refused("ghcr.io/", "unexpected end");
	assert_refused("ghcr.io/a/", "unexpected end");
	assert_refused("ghcr.io/a--b", "unexpected '-'");
	assert_refused("ghcr.io/-a", "unexpected '-'");
	assert_refused("gh_cr.io/a", "unexpected '_'");
	assert_refused("ghcr-.io/a", "unexpected '.'");
	assert_refused("ghcr.io/a:", "unexpected end");
	assert_refused("ghcr.io/a:b-", "unexpected end");
	assert_refused("ghcr.io/a:..", "unexpected '.'");
	assert_refused("ghcr.io/a:b:c", "unexpected ':'");
	assert_refused("ghcr.io/a b", "unexpected ' '");
	assert_refused("ghcr.io/a\nb", "(character 10)");
	assert_refused("ghcr.io/\xc3\xa4/b", "(character 9)");
	assert_refused("http://ghcr.io/a", "unexpected '/'");
}

static void digests_are_sha256_and_whole(void **state)
{
	(void)state;
	assert_refused("ghcr.io/a@sha256:e3b0", "unknown reference format");
	assert_refused("ghcr.io/a@sha512:" EMPTY, "unknown reference format");
	assert_refused("ghcr.io/a@" EMPTY "0", "unknown reference format");
	assert_refused("ghcr.io/a@", "unknown reference format");
	assert_refused("ghcr.io/a:tag@" EMPTY, "unexpected '@'");
}

static void lengths_are_bounded(void **state)
{
	auto_str text = STR_INIT;

	(void)state;
	str_adds(&text, "ghcr.io/a:");
	for (int i = 0; i < OCI_TAG_MAX; i++)
		str_addc(&text, 'a');
	assert_true(oci_name_is_remote(text.ptr));
	str_addc(&text, 'a');
	assert_false(oci_name_is_remote(text.ptr));
	str_reset(&text);
	str_adds(&text, "h/");
	while (text.len + strlen(":latest") < OCI_NAME_MAX)
		str_addc(&text, 'a');
	assert_true(oci_name_is_remote(text.ptr)); /* with its tag just as long as it may be */
	str_addc(&text, 'a');
	assert_refused(text.ptr, "too long");
	while (text.len < 100000)
		str_addc(&text, 'a');
	assert_refused(text.ptr, "too long");
}

static void names_of_layouts(void **state)
{
	auto_free char *here = getcwd(NULL, 0);
	auto_free char *beneath = str_format("%s/x/y", here);

	(void)state;
	assert_parses("oci:/tmp/x", NULL, "/tmp/x", "latest", NULL);
	assert_parses("oci:/tmp/x:v1", NULL, "/tmp/x", "v1", NULL);
	assert_parses("oci:/tmp/x@" EMPTY, NULL, "/tmp/x", NULL, EMPTY);
	assert_parses("oci:/tmp//a/./../x/", NULL, "/tmp/x", "latest", NULL);
	assert_parses("oci:/..", NULL, "/", "latest", NULL);
	assert_parses("oci:x/y", NULL, beneath, "latest", NULL);
	assert_parses("oci:./x/z/../y:t", NULL, beneath, "t", NULL);
	assert_parses("oci:.", NULL, here, "latest", NULL);
	assert_parses("oci:/a:b/c", NULL, "/a:b/c", "latest", NULL);
	assert_parses("oci:/a/b:c d", NULL, "/a/b:c d", "latest", NULL);
	assert_parses("oci:/a/b:c:d", NULL, "/a/b:c", "d", NULL);
	assert_parses("oci:/\xc3\xa4 @x", NULL, "/\xc3\xa4 @x", "latest", NULL);
	assert_refused("oci:", "no directory");
	assert_refused("oci::tag", "no directory");
	assert_refused("oci:/a\nb", "control character");
	assert_refused("oci:/a@sha256:e3b0", "unknown reference format");
}

static void canonical_text_is_the_same_name(void **state)
{
	static const char *const texts[][2] = {
		{ "ghcr.io/a/b", "ghcr.io/a/b:latest" },
		{ "h:1/a@" EMPTY, "h:1/a@" EMPTY },
		{ "oci:/x//y", "oci:/x/y:latest" },
		{ "oci:/x:y:z", "oci:/x:y:z" },
		{ "oci:/", "oci:/:latest" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(texts); i++)
		for (size_t j = 0; j < 2; j++) {
			auto_oci_name name = OCI_NAME_INIT;
			auto_str text = STR_INIT;
			struct error err = ERROR_INIT;

			assert_int_equal(oci_name_parse(texts[i][j], &name, &err), 0);
			oci_name_add(&name, &text);
			assert_string_equal(text.ptr, texts[i][1]);
		}
}

static void copies_and_repositories(void **state)
{
	auto_oci_name a = OCI_NAME_INIT, b = OCI_NAME_INIT, c = OCI_NAME_INIT, d = OCI_NAME_INIT;
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(oci_name_parse("h/a:t", &a, &err), 0);
	oci_name_copy(&a, &b);
	oci_name_with_digest(&a, EMPTY, &c);
	assert_string_equal(b.tag, "t");
	assert_null(c.tag);
	assert_string_equal(oci_name_reference(&c), EMPTY);
	assert_true(oci_name_same_repository(&a, &b));
	assert_true(oci_name_same_repository(&a, &c));
	assert_int_equal(oci_name_parse("oci:/a", &d, &err), 0);
	assert_false(oci_name_same_repository(&a, &d));
	oci_name_add_repository(&c, &text);
	str_addc(&text, ' ');
	oci_name_add_repository(&d, &text);
	assert_string_equal(text.ptr, "h/a oci:/a");
	oci_name_release(&b);
	assert_int_equal(oci_name_parse("h/ab:t", &b, &err), 0);
	assert_false(oci_name_same_repository(&a, &b));
}

static void hosts_alone(void **state)
{
	(void)state;
	assert_true(oci_name_is_host("ghcr.io"));
	assert_true(oci_name_is_host("localhost:5000"));
	assert_false(oci_name_is_host("http://ghcr.io"));
	assert_false(oci_name_is_host("ghcr.io/a"));
	assert_false(oci_name_is_host("ghcr.io:"));
	assert_false(oci_name_is_host("ghcr.io:99999"));
	assert_false(oci_name_is_host(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_registries),
		cmocka_unit_test(what_is_no_name_says_where),
		cmocka_unit_test(digests_are_sha256_and_whole),
		cmocka_unit_test(lengths_are_bounded),
		cmocka_unit_test(names_of_layouts),
		cmocka_unit_test(canonical_text_is_the_same_name),
		cmocka_unit_test(copies_and_repositories),
		cmocka_unit_test(hosts_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
