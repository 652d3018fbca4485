/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/str.h"
#include "oci/docker_auth.h"

enum { HELPER_MS = 60 * 1000 };

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void credentials_release(struct credentials *credentials)
{
	free(credentials->user);
	wipe(credentials->password);
	wipe(credentials->identity_token);
	*credentials = (struct credentials)CREDENTIALS_INIT;
}

static bool find_in_environment(const char *host, struct credentials *found)
{
	const char *user = getenv("TART_REGISTRY_USERNAME");
	const char *password = getenv("TART_REGISTRY_PASSWORD");
	const char *only = getenv("TART_REGISTRY_HOSTNAME");

	if (!user || !password || (only && strcmp(only, host) != 0))
		return false;
	found->user = xstrdup(user);
	found->password = xstrdup(password);
	return true;
}

/* Helpers say so on stdout and fail; that is an answer and no failure. */
static bool says_not_found(const char *output)
{
	return strstr(output, "credentials not found") != NULL;
}

static int ask_helper(const char *helper, const char *host, struct credentials *found,
		      struct error *err)
{
	auto_free char *program = str_format("docker-credential-%s", helper);
	const char *const argv[] = { program, "get", NULL };
	const struct process_spec spec = { .argv = argv };
	auto_str input = STR_INIT, output = STR_INIT, errors = STR_INIT;
	int r;

	str_addf(&input, "%s\n", docker_auth_server(host));
	r = process_run(&spec, &input, &output, DOCKER_AUTH_SECRET_MAX, &errors, HELPER_MS, err);
	if (r == 0) {
		r = docker_auth_parse_helper(output.ptr, output.len, found, err);
		explicit_bzero(output.ptr, output.len);
		return r < 0 ? error_wrap(err, "%s", program) : 1;
	}
	if (r < 0)
		return error_wrap(err, "%s", program);
	if (says_not_found(output.ptr))
		return 0;
	return error_set(err, E_FAILED, "%s failed with status %d: %.200s", program, r, errors.ptr);
}

/* Return: 1 found, 0 the file does not exist or knows nothing, or error. */
static int find_in_file(const char *path, const char *host, const char *repository,
			struct credentials *found, struct error *err)
{
	auto_docker_auth auth = DOCKER_AUTH_INIT;
	auto_str text = STR_INIT;
	int r = fs_read_file(AT_FDCWD, path, DOCKER_AUTH_MAX, &text, err);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return r;
	r = docker_auth_find(text.ptr, text.len, host, repository, &auth, err);
	explicit_bzero(text.ptr, text.len);
	if (r < 0)
		return error_wrap(err, "%s", path);
	if (r == 0)
		return 0;
	if (auth.helper)
		return ask_helper(auth.helper, host, found, err);
	*found = auth.credentials;
	auth.credentials = (struct credentials)CREDENTIALS_INIT;
	return 1;
}

static char *beneath_home(const char *path)
{
	const char *home = getenv("HOME");

	return home && *home ? str_format("%s/%s", home, path) : NULL;
}

static char *podman_file(void)
{
	const char *file = getenv("REGISTRY_AUTH_FILE");
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	auto_free char *path = NULL;

	if (file && *file)
		return xstrdup(file);
	if (runtime && *runtime)
		path = str_format("%s/containers/auth.json", runtime);
	if (path && access(path, F_OK) == 0)
		return take(path);
	return beneath_home(".config/containers/auth.json");
}

static char *docker_file(void)
{
	const char *directory = getenv("DOCKER_CONFIG");

	if (directory && *directory)
		return str_format("%s/config.json", directory);
	return beneath_home(".docker/config.json");
}

int credentials_find(const char *home, const char *host, const char *repository,
		     struct credentials *found, struct str *warnings, struct error *err)
{
	auto_free char *own = home ? str_format("%s/auth.json", home) : NULL;
	auto_free char *podman = podman_file();
	auto_free char *docker = docker_file();
	const char *const files[] = { own, podman, docker };

	(void)err;
	if (find_in_environment(host, found))
		return 1;
	for (size_t i = 0; i < array_size(files); i++) {
		struct error why = ERROR_INIT;
		int r = files[i] ? find_in_file(files[i], host, repository, found, &why) : 0;

		if (r > 0)
			return 1;
		if (r < 0)
			str_addf(warnings,
				 "Failed to retrieve credentials using Docker configuration "
				 "credentials provider, authentication may fail: %s\n",
				 why.text);
	}
	return 0;
}

/* @user NULL: remove. */
static int edit(const char *home, const char *host, const char *user, const char *password,
		struct error *err)
{
	auto_free char *path = str_format("%s/auth.json", home);
	auto_free char *lock_path = str_format("%s/auth.json.lock", home);
	auto_str old = STR_INIT, new = STR_INIT;
	auto_fd lock = lock_file(AT_FDCWD, lock_path, true, LOCK_WAIT, err);
	int r;

	if (lock < 0)
		return lock;
	r = fs_read_file(AT_FDCWD, path, DOCKER_AUTH_MAX, &old, err);
	if (r == -ENOENT && !user)
		return 0;
	if (r < 0 && r != -ENOENT)
		return r;
	r = docker_auth_edit(old.ptr, old.len, host, user, password, &new, err);
	if (r < 0)
		r = error_wrap(err, "%s", path);
	else
		r = fs_replace_file(AT_FDCWD, path, new.ptr, new.len, 0600, err);
	explicit_bzero(old.ptr, old.len);
	explicit_bzero(new.ptr, new.len);
	return r;
}

int credentials_store(const char *home, const char *host, const char *user, const char *password,
		      struct error *err)
{
	int r = fs_mkdirs(home, err);

	return r < 0 ? r : edit(home, host, user, password, err);
}

int credentials_remove(const char *home, const char *host, struct error *err)
{
	return access(home, F_OK) < 0 ? 0 : edit(home, host, NULL, NULL, err);
}
