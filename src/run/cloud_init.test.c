/* SPDX-License-Identifier: Apache-2.0 */
#include "run/cloud_init.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"

#define ED25519 "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJhc2U2NCBvZiBhIGtleSBvZiB0aGlzIHRlc3Q"

static int parse(const char *text, size_t len, struct strings *keys, struct error *err)
{
	auto_str s = STR_INIT;

	str_add(&s, text, len);
	return cloud_init_parse_keys(&s, keys, err);
}

static void test_keys(void **state)
{
	static const char text[] = "# mine\n\n" ED25519 " me@host\r\n"
				   "  from=\"10.0.0.0/8\" ecdsa-sha2-nistp256 AAAAE2Vj\n"
				   "sk-ssh-ed25519@openssh.com AAAAGnNr";
	struct error err = ERROR_INIT;
	auto_strings keys = VEC_INIT;

	(void)state;
	assert_int_equal(parse(text, sizeof(text) - 1, &keys, &err), 0);
	assert_int_equal(keys.len, 3);
	assert_string_equal(keys.items[0], ED25519 " me@host");
	assert_string_equal(keys.items[1], "from=\"10.0.0.0/8\" ecdsa-sha2-nistp256 AAAAE2Vj");
	assert_string_equal(keys.items[2], "sk-ssh-ed25519@openssh.com AAAAGnNr");
}

static void refused(const char *text, size_t len, const char *why)
{
	struct error err = ERROR_INIT;
	auto_strings keys = VEC_INIT;

	assert_int_equal(parse(text, len, &keys, &err), -E_INVALID);
	assert_non_null(strstr(err.text, why));
}

static void test_what_is_no_key(void **state)
{
	(void)state;
	refused("", 0, "no public key");
	refused("# a comment\n\n", 13, "no public key");
	refused("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", 41, "private key");
	refused(ED25519 "\nhello\n", sizeof(ED25519) + 6, "line 2 is no public key");
	refused("ssh-ed25519\n", 12, "line 1 is no public key");
	refused("ssh-ed25519 \033[2JAAAA AAAA\n", 26, "line 1 is no public key");
	refused("ssh-rsa AAAA\0x\n", 15, "no text");
}

static void named(const char *vm, const char *host)
{
	auto_free char *name = cloud_init_host_name(vm);

	assert_string_equal(name, host);
}

static void test_host_names(void **state)
{
	char longer[200];

	(void)state;
	named("web1", "web1");
	named("Web_1.example", "Web-1-example");
	named("--a--", "a");
	named("\xc3\xa4", "linzer");
	named("...", "linzer");
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	auto_free char *name = cloud_init_host_name(longer);

	assert_int_equal(strlen(name), CLOUD_INIT_HOST_NAME_MAX);
}

static void test_one_standard_input(void **state)
{
	struct error err = ERROR_INIT;
	auto_cloud_init cloud = CLOUD_INIT_INIT;

	(void)state;
	assert_int_equal(cloud_init_read(&cloud, "-", NULL, "-", &err), -E_FAILED);
	assert_int_equal(cloud_init_read(&cloud, NULL, NULL, NULL, &err), 0);
	assert_false(cloud.wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_what_is_no_key),
		cmocka_unit_test(test_host_names),
		cmocka_unit_test(test_one_standard_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
