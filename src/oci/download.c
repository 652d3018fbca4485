/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A blob is hashed as it arrives and given on at once, each byte once, in however many tries it
 * takes. A later try asks for the rest ("Range: bytes=N-", with If-Range where the registry gave
 * a strong ETag); an answer 206 has to begin at N, and of an answer 200, which is all of it,
 * the first N bytes are skipped. A try that brought RETRY_PROGRESS bytes before it broke makes the
 * count of tries begin anew, so that a long blob over a bad line comes through; one that
 * stalled does not, so that a blob that trickles does not keep us for ever.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/hash.h"
#include "oci/http.h"
#include "oci/registry.h"
#include "oci/status.h"

struct download {
	const struct blob *blob;
	remote_write_fn write;
	void *arg;
	struct hash hash;
	uint64_t received;
	uint64_t skip; /* of this try: bytes that came before */
	char *etag; /* of an earlier try */
};

static void download_release(struct download *d)
{
	hash_release(&d->hash);
	free(d->etag);
}
#define auto_download cleanup_(download_release) struct download

/* "bytes FIRST-LAST/SIZE" (RFC 9110 section 14.4): does it begin where it should? */
static bool begins_at(const char *content_range, uint64_t first)
{
	auto_free char *wanted = str_format("bytes %" PRIu64 "-", first);

	return content_range && str_starts(content_range, wanted);
}

/* A strong one (RFC 9110 section 8.8.3), and such that it can come back in a header of ours. */
static bool is_of_use(const char *etag)
{
	enum { ETAG_MAX = 256 };

	if (!etag || etag[0] != '"' || strlen(etag) > ETAG_MAX)
		return false;
	while (*etag > ' ' && *etag < 0x7f)
		etag++;
	return !*etag;
}

static int begin(void *arg, const struct http_response *response, struct error *err)
{
	struct download *d = arg;
	uint64_t rest = d->blob->size - d->received;
	uint64_t length = response->status == 206 ? rest : d->blob->size;

	if (response->status == 206 && !begins_at(response->content_range, d->received))
		return error_set(err, E_PROTOCOL,
				 "the rest from byte %" PRIu64 " was asked for, and '%.60s' came",
				 d->received,
				 response->content_range ? response->content_range : "");
	if (response->length >= 0 && (uint64_t)response->length != length)
		return error_set(err, E_INVALID, "%lld bytes come instead of %" PRIu64,
				 (long long)response->length, length);
	d->skip = response->status == 206 ? 0 : d->received;
	free(d->etag);
	d->etag = is_of_use(response->etag) ? xstrdup(response->etag) : NULL;
	return 0;
}

static int take_bytes(void *arg, const void *bytes, size_t len, struct error *err)
{
	struct download *d = arg;
	size_t skipped = len < d->skip ? len : (size_t)d->skip;
	const char *at = (const char *)bytes + skipped;

	d->skip -= skipped;
	len -= skipped;
	if (len > d->blob->size - d->received)
		return error_set(err, E_INVALID, "more than %" PRIu64 " bytes come", d->blob->size);
	if (!len)
		return 0;
	hash_add(&d->hash, at, len);
	d->received += len;
	return d->write(d->arg, at, len, err);
}

/* Return: 0 all of it came; HTTP_BROKEN another try may help; or error. */
static int try_once(struct session *session, struct download *d, struct http_request *request,
		    struct http_response *response, struct error *err)
{
	auto_free char *range = str_format("bytes=%" PRIu64 "-", d->received);
	auto_free char *etag = d->etag ? xstrdup(d->etag) : NULL;
	bool resumes = d->received > 0;
	int r;

	request->range = resumes ? range : NULL;
	request->if_range = resumes ? etag : NULL;
	r = session_try(session, request, NULL, response, err);
	request->range = request->if_range = NULL;
	if (r != HTTP_DONE)
		return r;
	if (response->status != 200 && !(response->status == 206 && resumes)) {
		(void)status_error(err, "pulling blob", request, response);
		return retry_is_transient(response) ? HTTP_BROKEN : -err->code;
	}
	if (d->received == d->blob->size)
		return 0;
	(void)error_set(err, E_FAILED, "only %" PRIu64 " of %" PRIu64 " bytes came", d->received,
			d->blob->size);
	(void)status_wrap(err, request);
	return HTTP_BROKEN;
}

static int check_digest(struct download *d, const struct http_request *request, struct error *err)
{
	struct digest found;
	char text[DIGEST_TEXT];

	hash_end(&d->hash, &found);
	if (digest_equal(&found, &d->blob->digest))
		return 0;
	digest_format(&found, text);
	(void)error_set(err, E_INVALID, "the digest of what came is %s", text);
	return status_wrap(err, request);
}

int registry_get_blob(struct remote *remote, const struct blob *blob, remote_write_fn write,
		      void *arg, struct error *err)
{
	struct registry *registry = (struct registry *)remote;
	auto_response response = HTTP_RESPONSE_INIT;
	auto_str url = STR_INIT;
	auto_download d = { .blob = blob, .write = write, .arg = arg };
	struct retry retry = { .policy = &registry->session.policy };
	struct http_request request = {
		.method = "GET", .begin = begin, .write = take_bytes, .arg = &d
	};
	char digest[DIGEST_TEXT];
	int r;

	digest_format(&blob->digest, digest);
	session_add_url(&registry->session, &url, "%s/blobs/%s", registry->repository, digest);
	request.url = url.ptr;
	hash_begin(&d.hash);
	for (;;) {
		uint64_t before = d.received;

		r = try_once(&registry->session, &d, &request, &response, err);
		if (r <= 0)
			break;
		if (d.received - before >= RETRY_PROGRESS && err->code != ETIMEDOUT)
			retry.failures = 0;
		r = retry_wait(&retry, response.retry_after, err);
		if (r < 0)
			break;
	}
	return r < 0 ? r : check_digest(&d, &request, err);
}
