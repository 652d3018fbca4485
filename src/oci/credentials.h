/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_CREDENTIALS_H
#define OCI_CREDENTIALS_H

/*
 * User and password for a registry (contract 5.7), from the first of these that knows it:
 *
 *   1. TART_REGISTRY_USERNAME and TART_REGISTRY_PASSWORD (for TART_REGISTRY_HOSTNAME alone if set)
 *   2. $home/auth.json, which login writes, mode 0600, in docker's format
 *   3. $REGISTRY_AUTH_FILE, else $XDG_RUNTIME_DIR/containers/auth.json,
 *      else ~/.config/containers/auth.json (podman)
 *   4. $DOCKER_CONFIG/config.json, else ~/.docker/config.json: auths, credHelpers, credsStore
 *
 * A file or helper that fails is passed over with a line for stderr.
 */

#include <stdbool.h>

#include "base/attr.h"

struct error;
struct str;

struct credentials {
	char *user, *password; /* NULL: none */
	char *identity_token; /* an OAuth2 refresh token instead (docker's "identitytoken"), or NULL
			       */
};
#define CREDENTIALS_INIT \
	{                \
		0        \
	}

/*
 * @repository: podman's keys may be "host/ns"; may be NULL. @warnings: what was passed over and
 * why, a line each. Return: 1 found, 0 none, or error.
 */
int credentials_find(const char *home, const char *host, const char *repository,
		     struct credentials *found, struct str *warnings, struct error *err) must_use_;
void credentials_release(struct credentials *credentials);
#define auto_credentials cleanup_(credentials_release) struct credentials

/* What login and logout do with $home/auth.json; removing what is not there is success. */
int credentials_store(const char *home, const char *host, const char *user, const char *password,
		      struct error *err) must_use_;
int credentials_remove(const char *home, const char *host, struct error *err) must_use_;

#endif
