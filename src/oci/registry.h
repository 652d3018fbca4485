/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_REGISTRY_H
#define OCI_REGISTRY_H

/* A repository in a registry (OCI distribution-spec 1.1): what registry.c and its parts share. */

#include "oci/remote_ops.h"
#include "oci/session.h"

struct registry {
	struct remote remote;
	struct session session;
	char *host, *repository;
	uint64_t chunk_size;
};

/* upload.c */
int registry_mount_blob(struct remote *remote, const struct blob *blob, const struct oci_name *from,
			struct error *err) must_use_;
int registry_put_blob(struct remote *remote, const struct blob *blob, const void *bytes, int fd,
		      struct error *err) must_use_;
/* download.c */
int registry_get_blob(struct remote *remote, const struct blob *blob, remote_write_fn write,
		      void *arg, struct error *err) must_use_;

#endif
