/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_REMOTE_OPS_H
#define OCI_REMOTE_OPS_H

/* The two kinds of remote (oci/remote.h, whose words count for these functions, too). */

#include "oci/remote.h"

struct remote_ops {
	void (*free)(struct remote *remote);
	/* @kind: "manifests" or "blobs" (distribution-spec, section Endpoints) */
	void (*add_place)(const struct remote *remote, const char *kind, const char *reference,
			  struct str *out);
	int (*get_manifest)(struct remote *remote, const char *reference, struct str *out,
			    struct digest *digest, struct error *err);
	int (*get_blob)(struct remote *remote, const struct blob *blob, remote_write_fn write,
			void *arg, struct error *err);
	int (*has_blob)(struct remote *remote, const struct blob *blob, struct error *err);
	int (*mount_blob)(struct remote *remote, const struct blob *blob,
			  const struct oci_name *from, struct error *err);
	/* @bytes, or where that is NULL the file @fd */
	int (*put_blob)(struct remote *remote, const struct blob *blob, const void *bytes, int fd,
			struct error *err);
	int (*put_manifest)(struct remote *remote, const char *reference, const char *media_type,
			    const void *bytes, size_t len, struct error *err);
};

/* The first member of what each kind makes. */
struct remote {
	const struct remote_ops *ops;
};

int registry_open(const struct oci_name *name, const struct remote_options *options, bool write,
		  struct remote **remote, struct error *err) must_use_;
int layout_open(const struct oci_name *name, const struct remote_options *options, bool write,
		struct remote **remote, struct error *err) must_use_;

#endif
