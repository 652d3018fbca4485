/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/remote.h"

#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "oci/name.h"
#include "oci/remote_ops.h"

int remote_open(const struct oci_name *name, const struct remote_options *options, bool write,
		struct remote **remote, struct error *err)
{
	if (name->host)
		return registry_open(name, options, write, remote, err);
	return layout_open(name, options, write, remote, err);
}

struct remote *remote_free(struct remote *remote)
{
	if (remote)
		remote->ops->free(remote);
	return NULL;
}

int remote_get_manifest(struct remote *remote, const char *reference, struct str *out,
			struct digest *digest, struct error *err)
{
	return remote->ops->get_manifest(remote, reference, out, digest, err);
}

void remote_add_manifest_place(const struct remote *remote, const char *reference, struct str *out)
{
	remote->ops->add_place(remote, "manifests", reference, out);
}

void remote_add_blob_place(const struct remote *remote, const struct blob *blob, struct str *out)
{
	char digest[DIGEST_TEXT];

	digest_format(&blob->digest, digest);
	remote->ops->add_place(remote, "blobs", digest, out);
}

int remote_get_blob(struct remote *remote, const struct blob *blob, remote_write_fn write,
		    void *arg, struct error *err)
{
	return remote->ops->get_blob(remote, blob, write, arg, err);
}

static int add_to_memory(void *arg, const void *bytes, size_t len, struct error *err)
{
	(void)err;
	str_add(arg, bytes, len);
	return 0;
}

int remote_get_small_blob(struct remote *remote, const struct blob *blob, size_t limit,
			  struct str *out, struct error *err)
{
	char digest[DIGEST_TEXT];
	size_t before = out->len;
	int r;

	digest_format(&blob->digest, digest);
	if (blob->size > limit)
		return error_set(err, E_TOO_BIG,
				 "blob %s: %llu bytes are more than the limit of %zu", digest,
				 (unsigned long long)blob->size, limit);
	r = remote->ops->get_blob(remote, blob, add_to_memory, out, err);
	if (r < 0)
		str_chop(out, out->len - before);
	return r;
}

int remote_has_blob(struct remote *remote, const struct blob *blob, struct error *err)
{
	return remote->ops->has_blob(remote, blob, err);
}

int remote_mount_blob(struct remote *remote, const struct blob *blob, const struct oci_name *from,
		      struct error *err)
{
	return remote->ops->mount_blob(remote, blob, from, err);
}

int remote_put_blob(struct remote *remote, const struct blob *blob, int fd, struct error *err)
{
	return remote->ops->put_blob(remote, blob, NULL, fd, err);
}

int remote_put_small_blob(struct remote *remote, const struct blob *blob, const void *bytes,
			  struct error *err)
{
	return remote->ops->put_blob(remote, blob, bytes, -1, err);
}

int remote_put_manifest(struct remote *remote, const char *reference, const char *media_type,
			const void *bytes, size_t len, struct error *err)
{
	return remote->ops->put_manifest(remote, reference, media_type, bytes, len, err);
}
