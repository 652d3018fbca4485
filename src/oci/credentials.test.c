/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scratch.h"
#include "oci/credentials.h"
#include "oci/docker_auth.h"

#define AUTH_A_B "\"auth\":\"YTpi\"" /* a:b */
#define AUTH_COLONS "\"auth\":\"dXNlcjpwYTpzczo=\"" /* user:pa:ss: */

static struct scratch scratch;

static void write_file(const char *name, const char *text, mode_t mode)
{
	auto_free char *path = str_format("%s/%s", scratch.path, name);
	struct error err = ERROR_INIT;

	if (fs_replace_file(AT_FDCWD, path, text, strlen(text), mode, &err) < 0)
		fail_msg("%s", err.text);
}

static void make_dir(const char *name)
{
	auto_free char *path = str_format("%s/%s", scratch.path, name);

	assert_int_equal(mkdir(path, 0700), 0);
}

static void set_env(const char *name, const char *beneath)
{
	auto_free char *path = str_format("%s/%s", scratch.path, beneath);

	(void)setenv(name, path, 1);
}

static int set_up(void **state)
{
	static const char *const unset[] = { "TART_REGISTRY_USERNAME", "TART_REGISTRY_PASSWORD",
					     "TART_REGISTRY_HOSTNAME", "REGISTRY_AUTH_FILE",
					     "XDG_RUNTIME_DIR",	       "DOCKER_CONFIG" };
	auto_free char *path = NULL;

	(void)state;
	for (size_t i = 0; i < array_size(unset); i++)
		(void)unsetenv(unset[i]);
	if (scratch_open(&scratch, scratch_place()) < 0)
		return -1;
	path = str_format("%s/bin:/usr/bin:/bin", scratch.path);
	(void)setenv("PATH", path, 1);
	(void)setenv("HOME", scratch.path, 1);
	make_dir("bin");
	make_dir(".docker");
	make_dir(".config");
	make_dir(".config/containers");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return scratch_close(&scratch);
}

/* Return: what credentials_find() does. @wanted: "user:password" or "<identity token>". */
static int find(const char *host, const char *repository, const char *wanted)
{
	auto_credentials found = CREDENTIALS_INIT;
	auto_str warnings = STR_INIT, got = STR_INIT;
	struct error err = ERROR_INIT;
	int r = credentials_find(scratch.path, host, repository, &found, &warnings, &err);

	if (r == 1 && found.identity_token)
		str_addf(&got, "<%s>", found.identity_token);
	else if (r == 1)
		str_addf(&got, "%s:%s", found.user, found.password);
	assert_string_equal(warnings.ptr, "");
	assert_string_equal(got.ptr, wanted);
	return r;
}

static void nothing_is_found_where_nothing_is(void **state)
{
	(void)state;
	assert_int_equal(find("ghcr.io", "a/b", ""), 0);
}

static void the_environment_comes_first(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(credentials_store(scratch.path, "ghcr.io", "x", "y", &err), 0);
	(void)setenv("TART_REGISTRY_USERNAME", "u", 1);
	assert_int_equal(find("ghcr.io", NULL, "x:y"), 1); /* half of a pair is none */
	(void)setenv("TART_REGISTRY_PASSWORD", "p", 1);
	assert_int_equal(find("ghcr.io", NULL, "u:p"), 1);
	(void)setenv("TART_REGISTRY_HOSTNAME", "ghcr.io:443", 1);
	assert_int_equal(find("ghcr.io", NULL, "x:y"), 1);
	assert_int_equal(find("ghcr.io:443", NULL, "u:p"), 1);
}

static void login_and_logout(void **state)
{
	auto_free char *path = str_format("%s/auth.json", scratch.path);
	struct error err = ERROR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(credentials_remove("/nonexistent", "a.b", &err), 0);
	assert_int_equal(credentials_remove(scratch.path, "a.b", &err), 0);
	assert_int_equal(credentials_store(scratch.path, "a.b", "user", "pa:ss:", &err), 0);
	assert_int_equal(credentials_store(scratch.path, "a.b:5000", "other", "p", &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(find("a.b", NULL, "user:pa:ss:"), 1);
	assert_int_equal(find("a.b:5000", NULL, "other:p"), 1);
	assert_int_equal(credentials_remove(scratch.path, "a.b", &err), 0);
	assert_int_equal(find("a.b", NULL, ""), 0);
	assert_int_equal(find("a.b:5000", NULL, "other:p"), 1);
}

static void podman_s_files(void **state)
{
	(void)state;
	write_file(".config/containers/auth.json",
		   "{\"auths\":{\"q.io\":{" AUTH_A_B "},\"q.io/org\":{" AUTH_COLONS "}}}", 0600);
	assert_int_equal(find("q.io", "org/image", "user:pa:ss:"), 1);
	assert_int_equal(find("q.io", "organ/image", "a:b"), 1);
	assert_int_equal(find("q.io", NULL, "a:b"), 1);
	set_env("XDG_RUNTIME_DIR", "run");
	assert_int_equal(find("q.io", NULL, "a:b"), 1); /* there is none there */
	make_dir("run");
	make_dir("run/containers");
	write_file("run/containers/auth.json", "{}", 0600);
	assert_int_equal(find("q.io", NULL, ""), 0);
	set_env("REGISTRY_AUTH_FILE", ".config/containers/auth.json");
	assert_int_equal(find("q.io", NULL, "a:b"), 1);
}

static void docker_s_file(void **state)
{
	(void)state;
	write_file(".docker/config.json",
		   "{\"auths\":{\"https://index.docker.io/v1/\":{" AUTH_A_B "},"
		   "\"https://r.io/v2/\":{" AUTH_COLONS "},\"empty.io\":{},"
		   "\"id.io\":{\"auth\":\"eDo=\",\"identitytoken\":\"refresh\"},"
		   "\"plain.io\":{\"username\":\"u\",\"password\":\"p\"}}}",
		   0600);
	assert_int_equal(find("docker.io", "library/x", "a:b"), 1);
	assert_int_equal(find("r.io", NULL, "user:pa:ss:"), 1);
	assert_int_equal(find("r.i", NULL, ""), 0);
	assert_int_equal(find("empty.io", NULL, ""), 0);
	assert_int_equal(find("id.io", NULL, "<refresh>"), 1);
	assert_int_equal(find("plain.io", NULL, "u:p"), 1);
	set_env("DOCKER_CONFIG", ".config");
	assert_int_equal(find("r.io", NULL, ""), 0);
}

static void helpers_are_asked(void **state)
{
	(void)state;
	write_file("bin/docker-credential-echo",
		   "#!/bin/sh\n[ $1 = get ] && read host && "
		   "printf '{\"ServerURL\":\"x\",\"Username\":\"user\",\"Secret\":\"%s\"}' "
		   "\"$host\"\n",
		   0700);
	write_file("bin/docker-credential-token",
		   "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"refresh\"}'\n", 0700);
	write_file("bin/docker-credential-none",
		   "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1\n", 0700);
	write_file(".docker/config.json",
		   "{\"credHelpers\":{\"gcr.io\":\"token\",\"(.*).dkr.ecr.(.*).amazonaws.com\":"
		   "\"echo\",\"none.io\":\"none\"},\"credsStore\":\"echo\"}",
		   0600);
	assert_int_equal(find("gcr.io", NULL, "<refresh>"), 1);
	assert_int_equal(
		find("1.dkr.ecr.eu.amazonaws.com", NULL, "user:1.dkr.ecr.eu.amazonaws.com"), 1);
	assert_int_equal(find("none.io", NULL, ""), 0);
	assert_int_equal(find("docker.io", NULL, "user:https://index.docker.io/v1/"), 1);
}

static void patterns_match_all_of_a_host(void **state)
{
	static const char text[] = "{\"credHelpers\":{\"b.c\":\"x\",\"(a){1,9}\":\"y\","
				   "\"a+++++++++++++++++++++++++++++++++++++++++++\":\"z\"}}";
	auto_docker_auth found = DOCKER_AUTH_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(docker_auth_find(text, strlen(text), "ab.c", NULL, &found, &err), 0);
	assert_int_equal(docker_auth_find(text, strlen(text), "b.c.d", NULL, &found, &err), 0);
	assert_int_equal(docker_auth_find(text, strlen(text), "aa", NULL, &found, &err), 0);
	assert_int_equal(docker_auth_find(text, strlen(text), "bxc", NULL, &found, &err), 1);
	assert_string_equal(found.helper, "x");
}

static void what_fails_is_passed_over_with_a_line(void **state)
{
	static const struct {
		const char *config, *why;
	} cases[] = {
		{ "{", "invalid JSON" },
		{ "{\"auths\":{\"h.io\":{\"auth\":\"secret!\"}}}", "'auth' is not base64" },
		{ "{\"auths\":{\"h.io\":{\"auth\":\"c2VjcmV0\"}}}", "not a user and a password" },
		{ "{\"credsStore\":\"../evil\"}", "'../evil' is not a credential helper's name" },
		{ "{\"credsStore\":\"absent\"}", "docker-credential-absent" },
		{ "{\"credsStore\":\"fails\"}",
		  "docker-credential-fails failed with status 3: oh" },
		{ "{\"credsStore\":\"babbles\"}", "not a user and a secret" },
		{ "{\"credsStore\":\"floods\"}", "docker-credential-floods" },
	};

	(void)state;
	write_file("bin/docker-credential-fails", "#!/bin/sh\necho oh >&2; exit 3\n", 0700);
	write_file("bin/docker-credential-babbles", "#!/bin/sh\necho '{\"Secret\":\"secret\"}'\n",
		   0700);
	write_file("bin/docker-credential-floods", "#!/bin/sh\nexec yes secret\n", 0700);
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_credentials found = CREDENTIALS_INIT;
		auto_str warnings = STR_INIT;
		struct error err = ERROR_INIT;

		write_file(".docker/config.json", cases[i].config, 0600);
		assert_int_equal(
			credentials_find(scratch.path, "h.io", NULL, &found, &warnings, &err), 0);
		if (!strstr(warnings.ptr, cases[i].why) || strstr(warnings.ptr, "secret!") ||
		    strchr(warnings.ptr, '\n') != warnings.ptr + warnings.len - 1)
			fail_msg("%s: %s", cases[i].config, warnings.ptr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_found_where_nothing_is, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_environment_comes_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(login_and_logout, set_up, tear_down),
		cmocka_unit_test_setup_teardown(podman_s_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(docker_s_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(helpers_are_asked, set_up, tear_down),
		cmocka_unit_test(patterns_match_all_of_a_host),
		cmocka_unit_test_setup_teardown(what_fails_is_passed_over_with_a_line, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
