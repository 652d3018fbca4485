/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_HTTP_H
#define OCI_HTTP_H

/*
 * One HTTP exchange at a time over a pool of libcurl handles, each of which keeps its connection.
 * No redirects, no retries, no authentication: those are oci/session.h's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/str.h"
#include "base/vec.h"

struct error;
struct http;

enum {
	HTTP_HEADERS_MAX = 64 * 1024, /* bytes of all header lines of one response */
	HTTP_PROBLEM_MAX = 16 * 1024, /* what is kept of the body of an error */
};

/* What is sent: bytes in memory, or a range of a file. */
struct http_source {
	const void *bytes; /* NULL: the file */
	int fd;
	uint64_t offset, length;
};

struct http_response {
	int status;
	int64_t length; /* Content-Length, -1 where there is none */
	char *location, *retry_after, *content_range, *etag; /* NULL where there is none */
	struct strings challenges; /* each WWW-Authenticate */
	struct str body; /* unless it went to write() */
};
#define HTTP_RESPONSE_INIT                                             \
	{                                                              \
		.length = -1, .challenges = VEC_INIT, .body = STR_INIT \
	}

struct http_request {
	const char *method, *url;
	const char *accept, *content_type; /* header values, or NULL */
	const char *authorization, *range, *if_range, *content_range;
	const struct http_source *source; /* the body; NULL: none */
	bool own_host; /* it goes to the registry itself, which is shown our certificate */
	bool own_realm; /* it goes to where that one's tokens are, whose authorities are the same */
	size_t limit; /* of a body kept in response->body, of a status below 300 (E_TOO_BIG) */
	/* of 200 and 206: begin() is told first, then write() takes each byte once; may be NULL */
	int (*begin)(void *arg, const struct http_response *response, struct error *err);
	int (*write)(void *arg, const void *bytes, size_t len, struct error *err);
	void *arg;
};

struct http_settings {
	const char *host; /* whose certificates in certs.d count */
	bool (*cancelled)(void *arg); /* asked at least once a second; may be NULL */
	void *arg;
};

/* Settings are read from the environment here, too: SSL_CERT_FILE, LINZER_STALL_SECONDS ... */
struct http *http_new(const struct http_settings *settings);
struct http *http_free(struct http *http);
bool http_cancelled(const struct http *http);

enum http_outcome { HTTP_DONE = 0, HTTP_BROKEN = 1 };
/*
 * Thread-safe. Return: HTTP_DONE, a response came, of whatever status; HTTP_BROKEN, the connection
 * failed or stalled and another try may help (@err says why); or an error that trying
 * again does not mend, such as one of write(). @response is to be released in any case.
 */
int http_perform(struct http *http, const struct http_request *request,
		 struct http_response *response, struct error *err) must_use_;
/* A header line "name: value\r\n": keep it if it is one of those above. The last one of a name
 * counts. */
void http_response_add_header(struct http_response *response, const char *line, size_t len);
/* Empty it for the next exchange. */
void http_response_release(struct http_response *response);
#define auto_response cleanup_(http_response_release) struct http_response

#endif
