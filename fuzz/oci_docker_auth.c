/* SPDX-License-Identifier: Apache-2.0 */

/* Auth files of docker and podman, and the answers of helpers. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "oci/docker_auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_credentials(const struct credentials *c)
{
	assert(!c->user == !c->password);
	assert(!c->user || !c->identity_token);
}

static void check_find(const uint8_t *data, size_t size, const char *host)
{
	auto_docker_auth found = DOCKER_AUTH_INIT;
	struct error err = ERROR_INIT;
	int r = docker_auth_find(data, size, host, "org/image", &found, &err);

	check_credentials(&found.credentials);
	assert(r == 1 || !found.helper);
	assert(r != 1 || found.helper || found.credentials.user ||
	       found.credentials.identity_token);
	assert(r >= 0 || (err.code > 0 && err.text[0]));
	assert(!found.helper || !strchr(found.helper, '/'));
}

/* What login writes is what is found then, and logout takes it away. */
static void check_edit(const uint8_t *data, size_t size)
{
	auto_docker_auth found = DOCKER_AUTH_INIT, none = DOCKER_AUTH_INIT;
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT, without = STR_INIT;

	if (docker_auth_edit(data, size, "own.io:1", "me", "pass:", &text, &err) < 0)
		return;
	assert(docker_auth_find(text.ptr, text.len, "own.io:1", NULL, &found, &err) == 1);
	assert(strcmp(found.credentials.user, "me") == 0);
	assert(strcmp(found.credentials.password, "pass:") == 0);
	assert(docker_auth_edit(text.ptr, text.len, "own.io:1", NULL, NULL, &without, &err) == 0);
	(void)!docker_auth_find(without.ptr, without.len, "own.io:1", NULL, &none, &err);
	check_credentials(&none.credentials);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_credentials helper = CREDENTIALS_INIT;
	struct error err = ERROR_INIT;

	check_find(data, size, "ghcr.io");
	check_find(data, size, "docker.io");
	check_edit(data, size);
	if (docker_auth_parse_helper(data, size, &helper, &err) == 0)
		assert(helper.identity_token || helper.user);
	check_credentials(&helper);
	return 0;
}
