/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_TOKEN_H
#define OCI_TOKEN_H

/*
 * The Authorization headers of one repository: credentials, looked up once when the registry first
 * asks for some, and the tokens got with them, one for each set of rights.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "oci/credentials.h"

struct error;
struct http;
struct http_response;
struct retry_policy;
struct str;
struct tokens;

struct tokens_settings {
	struct http *http; /* borrowed, as all here */
	const struct retry_policy *policy;
	const char *host; /* whose credentials */
	const char *repository; /* NULL: none, for login */
	const char *registry; /* the URL of the registry: "https://host/" */
	const char *home;
	const struct credentials *known; /* use these instead of looking, or NULL */
};

struct tokens *tokens_new(const struct tokens_settings *settings);
struct tokens *tokens_free(struct tokens *tokens);

/*
 * Replace @header by the value to send for @rights: "pull" or "pull,push", with @from != NULL and
 * pulling from that repository, too. "": none is known or needed, or it has expired.
 */
void tokens_header(struct tokens *tokens, const char *rights, const char *from, struct str *header);
/*
 * The registry answered 401 to a request with @header: replace that by a better one. Return: 1
 * done; 0 there is none better (no credentials for Basic); or error.
 */
int tokens_renew(struct tokens *tokens, const char *rights, const char *from,
		 const struct http_response *response, struct str *header,
		 struct error *err) must_use_;

#endif
