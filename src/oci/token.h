/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_TOKEN_H
#define OCI_TOKEN_H

/*
 * The Authorization headers of one repository: credentials, looked up once when the registry first
 * asks for some, and the tokens got with them, one for each set of rights.
 */

#include "base/attr.h"
#include "oci/credentials.h"

struct error;
struct http;
struct http_request;
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

/* What is to be allowed. */
struct rights {
	const char *actions; /* "pull" or "pull,push", of the repository itself */
	const char *from; /* another repository to be pulled from, or NULL */
};

/* Replace @header by the value to send; "": none is known or needed, or it has expired. */
void tokens_header(struct tokens *tokens, const struct rights *rights, struct str *header);
enum { TOKEN_TRIES = 5 };

/* The registry took @header: should it refuse it later, then it has expired. */
void tokens_prove(struct tokens *tokens, const struct rights *rights, const char *header);
/*
 * The registry gave @response, 401, to @request with @header, the request's answer number @tries
 * of that kind: replace the header by a better one. Return: 1 done; 0 there is none better
 * (no credentials for Basic; or after TOKEN_TRIES @header is still one that the registry
 * never took); or error, which says all.
 */
int tokens_renew(struct tokens *tokens, const struct rights *rights,
		 const struct http_request *request, const struct http_response *response,
		 unsigned tries, struct str *header, struct error *err) must_use_;

#endif
