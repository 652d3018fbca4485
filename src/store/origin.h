/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_ORIGIN_H
#define STORE_ORIGIN_H

/*
 * origin.json in a VM's directory: the image that its disk came from or was last pushed as, so
 * that a push knows which blobs the unchanged slices already have, and where.
 *
 *   {"version":1,"name":"ghcr.io/org/image","digest":"sha256:...","manifest":"<text>"}
 *
 * Written only by us, never pushed; clones inherit it (linked). It is a hint: whoever uses it
 * compares digests of content.
 */

#include "base/attr.h"
#include "oci/manifest.h"
#include "oci/name.h"

struct error;
struct vm;

struct origin {
	struct oci_name name; /* by digest */
	struct manifest manifest;
};
#define ORIGIN_INIT                   \
	{                             \
		.name = OCI_NAME_INIT \
	}

/* Return: 1, 0 it has none (or none that can be read), or error. */
int origin_read(const struct vm *vm, struct origin *origin, struct error *err) must_use_;
int origin_write(const struct vm *vm, const struct oci_name *name, const void *manifest, size_t len,
		 struct error *err) must_use_;
void origin_release(struct origin *origin);
#define auto_origin cleanup_(origin_release) struct origin

#endif
