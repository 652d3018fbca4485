/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/registry.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/credentials.h"
#include "oci/hash.h"
#include "oci/http.h"
#include "oci/name.h"
#include "oci/status.h"

/*
 * The index and docker's types are asked for as well, so that the parser can say what was found
 * instead of the registry saying that nothing was.
 */
static const char manifest_types[] =
	OCI_MEDIA_MANIFEST ", application/vnd.oci.image.index.v1+json"
			   ", application/vnd.docker.distribution.manifest.v2+json"
			   ", application/vnd.docker.distribution.manifest.list.v2+json";

static void registry_free(struct remote *remote)
{
	struct registry *registry = (struct registry *)remote;

	session_release(&registry->session);
	free(registry->host);
	free(registry->repository);
	free(registry);
}

static void registry_add_place(const struct remote *remote, const char *kind, const char *reference,
			       struct str *out)
{
	const struct registry *registry = (const struct registry *)remote;

	session_add_url(&registry->session, out, "%s/%s/%s", registry->repository, kind, reference);
}

static int check_reference(const struct http_request *request, const char *reference,
			   const struct digest *found, struct error *err)
{
	struct digest wanted;
	char text[DIGEST_TEXT];

	if (digest_parse(reference, &wanted) < 0 || digest_equal(&wanted, found))
		return 0;
	digest_format(found, text);
	(void)error_set(err, E_INVALID, "the digest of what came is %s", text);
	return status_wrap(err, request);
}

static int registry_get_manifest(struct remote *remote, const char *reference, struct str *out,
				 struct digest *digest, struct error *err)
{
	struct registry *registry = (struct registry *)remote;
	auto_response response = HTTP_RESPONSE_INIT;
	auto_str url = STR_INIT;
	struct http_request request = { .method = "GET",
					.accept = manifest_types,
					.limit = MANIFEST_MAX };
	struct digest found;
	int r;

	session_add_url(&registry->session, &url, "%s/manifests/%s", registry->repository,
			reference);
	request.url = url.ptr;
	r = session_send(&registry->session, &request, NULL, "pulling manifest",
			 (const int[]){ 200, 0 }, &response, err);
	if (r < 0)
		return r;
	hash_bytes(response.body.ptr, response.body.len, &found);
	r = check_reference(&request, reference, &found, err);
	if (r < 0)
		return r;
	str_add(out, response.body.ptr, response.body.len);
	*digest = found;
	return 0;
}

static int registry_has_blob(struct remote *remote, const struct blob *blob, struct error *err)
{
	struct registry *registry = (struct registry *)remote;
	auto_response response = HTTP_RESPONSE_INIT;
	auto_str url = STR_INIT;
	struct http_request request = { .method = "HEAD" };
	char digest[DIGEST_TEXT];
	int r;

	digest_format(&blob->digest, digest);
	session_add_url(&registry->session, &url, "%s/blobs/%s", registry->repository, digest);
	request.url = url.ptr;
	r = session_send(&registry->session, &request, NULL, "checking blob",
			 (const int[]){ 200, 404, 0 }, &response, err);
	if (r < 0)
		return r;
	return response.status == 200 &&
	       (response.length < 0 || (uint64_t)response.length == blob->size);
}

static int registry_put_manifest(struct remote *remote, const char *reference,
				 const char *media_type, const void *bytes, size_t len,
				 struct error *err)
{
	struct registry *registry = (struct registry *)remote;
	auto_response response = HTTP_RESPONSE_INIT;
	auto_str url = STR_INIT;
	struct http_source source = { .bytes = bytes, .length = len };
	struct http_request request = { .method = "PUT",
					.content_type = media_type,
					.source = &source };

	session_add_url(&registry->session, &url, "%s/manifests/%s", registry->repository,
			reference);
	request.url = url.ptr;
	return session_send(&registry->session, &request, NULL, "pushing manifest",
			    (const int[]){ 201, 0 }, &response, err);
}

int registry_open(const struct oci_name *name, const struct remote_options *options, bool write,
		  struct remote **remote, struct error *err)
{
	static const struct remote_ops ops = {
		.free = registry_free,
		.get_manifest = registry_get_manifest,
		.get_blob = registry_get_blob,
		.has_blob = registry_has_blob,
		.mount_blob = registry_mount_blob,
		.put_blob = registry_put_blob,
		.put_manifest = registry_put_manifest,
		.add_place = registry_add_place,
	};
	struct registry *registry = xcalloc(1, sizeof(*registry));

	(void)err;
	registry->remote.ops = &ops;
	registry->host = xstrdup(name->host);
	registry->repository = xstrdup(name->repository);
	registry->chunk_size = options->chunk_size;
	session_init(&registry->session,
		     &(struct session_settings){ .host = registry->host,
						 .repository = registry->repository,
						 .options = options,
						 .write = write });
	*remote = &registry->remote;
	return 0;
}

int remote_check_login(const char *host, bool insecure, const char *user, const char *password,
		       struct error *err)
{
	static const char prefix[] = "Error: ";
	auto_free char *own_user = xstrdup(user), *own_password = xstrdup(password);
	struct credentials known = { .user = own_user, .password = own_password };
	struct remote_options options = { .insecure = insecure };
	struct session_settings settings = { .host = host, .options = &options, .known = &known };
	auto_response response = HTTP_RESPONSE_INIT;
	struct http_request request = { .method = "GET" };
	auto_session session;
	int r;

	session_init(&session, &settings);
	request.url = session.base;
	r = session_send(&session, &request, NULL, "doing ping", (const int[]){ 200, 0 }, &response,
			 err);
	if (r < 0 && str_starts(err->text, prefix)) /* login puts its own words in front */
		memmove(err->text, err->text + strlen(prefix),
			strlen(err->text + strlen(prefix)) + 1);
	return r;
}
