/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_SESSION_H
#define OCI_SESSION_H

/* Exchanges with one registry: authentication, redirects to blob storage, other tries. */

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "oci/retry.h"

struct credentials;
struct error;
struct http;
struct http_request;
struct http_response;
struct remote_options;
struct str;
struct tokens;

enum {
	SESSION_REDIRECTS = 5,
	/* a token can expire, or be used up by other threads, before a request comes to use it */
	SESSION_RENEWALS = 20,
};

struct session {
	struct http *http;
	struct tokens *tokens;
	struct retry_policy policy;
	char *base; /* "https://host/v2/" */
	const char *actions; /* "pull" or "pull,push" */
};

struct session_settings {
	const char *host, *repository; /* repository may be NULL */
	const struct remote_options *options;
	const struct credentials *known; /* borrowed for as long as the session; NULL: look */
	bool write;
};

void session_init(struct session *session, const struct session_settings *settings);
void session_release(struct session *session);
#define auto_session cleanup_(session_release) struct session

/* Append the URL of what has this path below /v2/. */
void session_add_url(const struct session *session, struct str *url, const char *fmt, ...)
	printf_(3, 4);

/*
 * One try: @request with what authorization is known, again after a 401, along redirects.
 * @from: a repository that is to be read, too, or NULL. Return: as http_perform(), with the method
 * and the URL in front of @err.
 */
int session_try(struct session *session, struct http_request *request, const char *from,
		struct http_response *response, struct error *err) must_use_;
/*
 * Until it has one of @statuses (ends with 0): with other tries where they may help. @when: for the
 * message, "pulling manifest". Return: 0, or error.
 */
int session_send(struct session *session, struct http_request *request, const char *from,
		 const char *when, const int *statuses, struct http_response *response,
		 struct error *err) must_use_;

#endif
