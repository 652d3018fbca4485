/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_DOCKER_AUTH_H
#define OCI_DOCKER_AUTH_H

/* The text of docker's config.json and podman's auth.json, as values: no I/O. */

#include <stddef.h>

#include "base/attr.h"
#include "oci/credentials.h"

struct error;
struct str;

enum {
	DOCKER_AUTH_MAX = 1024 * 1024, /* bytes of a file */
	DOCKER_AUTH_SECRET_MAX = 64 * 1024, /* bytes of a helper's answer */
};

struct docker_auth {
	struct credentials credentials;
	char *helper; /* the X of "docker-credential-X" to be asked where there are none, or NULL */
};
#define DOCKER_AUTH_INIT \
	{                \
		0        \
	}

/*
 * What a file says of @host: the entry of "auths" for host/repository, for a part of it, or for the
 * host; else a helper of "credHelpers" (a key is the host or a regular expression for all
 * of it, contract 5.7) or "credsStore". @repository may be NULL. Return: 1 something, 0
 * nothing, or E_INVALID, which quotes no secret.
 */
int docker_auth_find(const void *bytes, size_t len, const char *host, const char *repository,
		     struct docker_auth *found, struct error *err) must_use_;
void docker_auth_release(struct docker_auth *auth);
#define auto_docker_auth cleanup_(docker_auth_release) struct docker_auth

/* A helper's answer, {"Username": ..., "Secret": ...}; the user "<token>" has an identity token. */
int docker_auth_parse_helper(const void *bytes, size_t len, struct credentials *found,
			     struct error *err) must_use_;
/* What helpers and auth files call @host: docker.io has a name of its own. */
const char *docker_auth_server(const char *host);

/* Change the entry of @host in a file's text (@len 0: none yet), all else kept; NULL removes. */
int docker_auth_edit(const void *bytes, size_t len, const char *host, const char *user,
		     const char *password, struct str *out, struct error *err) must_use_;

#endif
