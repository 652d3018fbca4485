/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * An upload (distribution-spec, "Pushing a blob") is a session of the registry: POST opens it, and
 * every answer names in Location where to go on, also on another host, which then gets no
 * credentials (oci/session.h). Without a chunk size one PUT carries all; with one, PATCHes go
 * before and the PUT carries the last chunk. Neither is repeated by itself: whatever goes
 * wrong on the way, an upload is begun anew, which needs no trust in what the registry kept.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/http.h"
#include "oci/name.h"
#include "oci/registry.h"
#include "oci/status.h"
#include "oci/url.h"

struct upload {
	struct session *session;
	struct str location; /* where the next request goes */
	char digest[DIGEST_TEXT];
};

static void upload_release(struct upload *u)
{
	str_release(&u->location);
}
#define auto_upload cleanup_(upload_release) struct upload

/* Where to go on: @fallback says that the old place stays where the answer names none. */
static int next_location(struct upload *u, const struct http_request *request,
			 const struct http_response *response, bool fallback, struct error *err)
{
	bool named = response->location && *response->location;
	auto_str next = STR_INIT;
	int r = 0;

	if (named)
		r = url_resolve(request->url, response->location, &next, err);
	else if (!fallback)
		r = error_set(err, E_PROTOCOL, "the answer has no Location");
	if (r < 0)
		return status_wrap(err, request);
	if (!named)
		return 0;
	str_reset(&u->location);
	str_add(&u->location, next.ptr, next.len);
	return 0;
}

/* As session_try(), but a status that is not hoped for is an error (HTTP_BROKEN: transient), too.
 */
static int step(struct upload *u, struct http_request *request, const char *from,
		struct http_response *response, struct error *err)
{
	int r = session_try(u->session, request, from, response, err);

	if (r != HTTP_DONE || response->status == 201 || response->status == 202)
		return r;
	(void)status_error(err, "pushing blob", request, response);
	return retry_is_transient(response) ? HTTP_BROKEN : -err->code;
}

static int open_upload(struct upload *u, struct registry *registry, struct http_response *response,
		       struct error *err)
{
	auto_str url = STR_INIT;
	struct http_source nothing = { .bytes = "" };
	struct http_request request = { .method = "POST", .source = &nothing };
	int r;

	session_add_url(u->session, &url, "%s/blobs/uploads/", registry->repository);
	request.url = url.ptr;
	r = step(u, &request, NULL, response, err);
	return r == HTTP_DONE ? next_location(u, &request, response, false, err) : r;
}

static int patch(struct upload *u, const struct http_source *chunk, uint64_t first,
		 struct http_response *response, struct error *err)
{
	auto_free char *range =
		str_format("%" PRIu64 "-%" PRIu64, first, first + chunk->length - 1);
	auto_free char *url = xstrdup(u->location.ptr);
	struct http_request request = { .method = "PATCH",
					.url = url,
					.content_type = "application/octet-stream",
					.content_range = range,
					.source = chunk };
	int r = step(u, &request, NULL, response, err);

	return r == HTTP_DONE ? next_location(u, &request, response, true, err) : r;
}

static int put(struct upload *u, const struct http_source *last, const char *range,
	       struct http_response *response, struct error *err)
{
	auto_str url = STR_INIT;
	struct http_request request = { .method = "PUT",
					.content_type = "application/octet-stream",
					.content_range = range,
					.source = last };

	str_add(&url, u->location.ptr, u->location.len);
	url_add_query(&url, "digest", u->digest);
	request.url = url.ptr;
	return step(u, &request, NULL, response, err);
}

/* All of it from the beginning. Return: as session_try(). */
static int upload_once(struct upload *u, struct registry *registry, const struct http_source *whole,
		       struct http_response *response, struct error *err)
{
	struct http_source chunk = *whole;
	auto_free char *range = NULL;
	uint64_t first = 0, size = registry->chunk_size;
	int r = open_upload(u, registry, response, err);

	for (; r == HTTP_DONE && size && whole->length - first > size; first += size) {
		chunk.offset = first;
		chunk.length = size;
		r = patch(u, &chunk, first, response, err);
	}
	if (r != HTTP_DONE)
		return r;
	chunk.offset = first;
	chunk.length = whole->length - first;
	if (first)
		range = str_format("%" PRIu64 "-%" PRIu64, first, whole->length - 1);
	return put(u, &chunk, range, response, err);
}

int registry_put_blob(struct remote *remote, const struct blob *blob, const void *bytes, int fd,
		      struct error *err)
{
	struct registry *registry = (struct registry *)remote;
	auto_upload u = { .session = &registry->session, .location = STR_INIT };
	auto_response response = HTTP_RESPONSE_INIT;
	struct http_source whole = { .bytes = bytes, .fd = fd, .length = blob->size };
	struct retry retry = { .policy = &registry->session.policy };
	int r;

	digest_format(&blob->digest, u.digest);
	do {
		r = upload_once(&u, registry, &whole, &response, err);
		if (r <= 0)
			return r;
		r = retry_wait(&retry, response.retry_after, err);
	} while (r == 0);
	return r;
}

/* The registry began an upload instead of mounting: end it, which may fail. */
static void cancel(struct upload *u)
{
	auto_response response = HTTP_RESPONSE_INIT;
	struct error ignored = ERROR_INIT;
	struct http_request request = { .method = "DELETE", .url = u->location.ptr };

	(void)!session_try(u->session, &request, NULL, &response, &ignored);
}

int registry_mount_blob(struct remote *remote, const struct blob *blob, const struct oci_name *from,
			struct error *err)
{
	struct registry *registry = (struct registry *)remote;
	auto_upload u = { .session = &registry->session, .location = STR_INIT };
	auto_response response = HTTP_RESPONSE_INIT;
	auto_str url = STR_INIT;
	struct http_source nothing = { .bytes = "" };
	struct http_request request = { .method = "POST", .source = &nothing };
	int r;

	if (!from->host || strcmp(from->host, registry->host) != 0 ||
	    strcmp(from->repository, registry->repository) == 0)
		return 0;
	digest_format(&blob->digest, u.digest);
	session_add_url(u.session, &url, "%s/blobs/uploads/", registry->repository);
	url_add_query(&url, "mount", u.digest);
	url_add_query(&url, "from", from->repository);
	request.url = url.ptr;
	/* whoever may not read the other repository, or may not mount, can still upload */
	r = session_send(u.session, &request, from->repository, "mounting blob",
			 (const int[]){ 201, 202, 400, 401, 403, 404, 405, 0 }, &response, err);
	if (r < 0)
		return r;
	if (response.status == 202 && next_location(&u, &request, &response, false, err) == 0)
		cancel(&u);
	return response.status == 201;
}
