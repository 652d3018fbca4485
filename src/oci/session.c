/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/http.h"
#include "oci/remote.h"
#include "oci/status.h"
#include "oci/token.h"
#include "oci/url.h"

/* docker.io is a name for people; its registry is somewhere else. */
static const char *real_host(const char *host)
{
	if (strcmp(host, "docker.io") == 0 || strcmp(host, "index.docker.io") == 0)
		return "registry-1.docker.io";
	return host;
}

void session_init(struct session *session, const struct session_settings *settings)
{
	const struct remote_options *options = settings->options;
	const char *host = real_host(settings->host);
	auto_free char *registry =
		str_format("%s://%s/", options->insecure ? "http" : "https", host);
	struct http_settings http = { .host = host,
				      .cancelled = options->cancelled,
				      .arg = options->arg };

	*session = (struct session){ .http = http_new(&http),
				     .base = str_format("%sv2/", registry),
				     .actions = settings->write ? "pull,push" : "pull" };
	session->policy = (struct retry_policy){ .base_ms = retry_base_ms(),
						 .notice = options->notice,
						 .warning = options->warning ? options->warning
									     : options->notice,
						 .cancelled = options->cancelled,
						 .arg = options->arg };
	session->tokens = tokens_new(&(struct tokens_settings){ .http = session->http,
								.policy = &session->policy,
								.host = settings->host,
								.repository = settings->repository,
								.registry = registry,
								.home = options->home,
								.known = settings->known });
}

void session_release(struct session *session)
{
	session->tokens = tokens_free(session->tokens);
	session->http = http_free(session->http);
	free(take(session->base));
}

void session_add_url(const struct session *session, struct str *url, const char *fmt, ...)
{
	auto_free char *path = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	path = xmalloc((size_t)n + 1);
	va_start(ap, fmt);
	(void)vsnprintf(path, (size_t)n + 1, fmt, ap);
	va_end(ap);
	str_addf(url, "%s%s", session->base, path);
}

/* Redirects of what changes something are followed only where the method stays the same. */
static bool is_redirect(const struct http_request *request, const struct http_response *response)
{
	int s = response->status;
	bool reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;

	return response->location && *response->location &&
	       (s == 307 || s == 308 || (reads && (s == 301 || s == 302 || s == 303)));
}

static int follow(struct str *url, const struct http_response *response, unsigned *hops,
		  struct error *err)
{
	auto_str next = STR_INIT;
	int r;

	if (++*hops > SESSION_REDIRECTS)
		return error_set(err, E_PROTOCOL, "more than %d redirects", SESSION_REDIRECTS);
	r = url_resolve(url->ptr, response->location, &next, err);
	if (r < 0)
		return r;
	str_reset(url);
	str_add(url, next.ptr, next.len);
	return 0;
}

/* @request->url is @url while this runs. */
static int try_along(struct session *session, struct http_request *request, const char *from,
		     struct str *url, struct http_response *response, struct error *err)
{
	const struct rights rights = { .actions = session->actions, .from = from };
	auto_str header = STR_INIT;
	unsigned hops = 0, renewals = 0;

	tokens_header(session->tokens, &rights, &header);
	for (;;) {
		bool own = url_same_origin(session->base, url->ptr);
		int r;

		request->url = url->ptr;
		request->own_host = own;
		request->authorization = own && header.len ? header.ptr : NULL;
		r = http_perform(session->http, request, response, err);
		if (request->authorization && response->status && response->status != 401)
			tokens_prove(session->tokens, &rights, header.ptr);
		if (r != HTTP_DONE) {
			(void)status_wrap(err, request);
			return r;
		}
		if (response->status == 401 && own && ++renewals <= SESSION_RENEWALS) {
			r = tokens_renew(session->tokens, &rights, request, response, renewals,
					 &header, err);
			if (r < 0) /* says itself what it is about */
				return r;
			if (r > 0)
				continue;
		}
		if (!is_redirect(request, response))
			return HTTP_DONE;
		r = follow(url, response, &hops, err);
		if (r < 0)
			return status_wrap(err, request);
	}
}

int session_try(struct session *session, struct http_request *request, const char *from,
		struct http_response *response, struct error *err)
{
	auto_str url = STR_INIT;
	const char *first = request->url;
	int r;

	str_adds(&url, first);
	r = try_along(session, request, from, &url, response, err);
	request->url = first;
	request->authorization = NULL;
	return r;
}

static bool is_one_of(int status, const int *statuses)
{
	for (; *statuses; statuses++)
		if (status == *statuses)
			return true;
	return false;
}

int session_send(struct session *session, struct http_request *request, const char *from,
		 const char *when, const int *statuses, struct http_response *response,
		 struct error *err)
{
	struct retry retry = { .policy = &session->policy };
	int r;

	do {
		r = session_try(session, request, from, response, err);
		if (r < 0)
			return r;
		if (r == HTTP_DONE && is_one_of(response->status, statuses))
			return 0;
		if (r == HTTP_DONE) {
			(void)status_error(err, when, request, response);
			if (!retry_is_transient(response))
				return -err->code;
		}
		r = retry_wait(&retry, response->retry_after, err);
	} while (r == 0);
	return r;
}
