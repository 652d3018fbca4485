/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_LAYOUT_INDEX_H
#define OCI_LAYOUT_INDEX_H

/*
 * index.json of an image layout (OCI image-spec, image-layout.md): which manifests there are, and
 * under which names (annotation org.opencontainers.image.ref.name). No I/O. What we do not
 * know of it stays as it is.
 */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "oci/digest.h"

struct error;

enum {
	LAYOUT_INDEX_MAX = 8 * 1024 * 1024, /* bytes */
	LAYOUT_MANIFESTS_MAX =
		16384, /* with the six values of one of ours within JSON_VALUES_MAX */
};

struct layout_entry {
	struct digest digest;
	uint64_t size;
};

/* An index without manifests; owned by the caller. */
json_t *layout_index_new(void) must_use_;
/* E_INVALID, E_TOO_BIG; the index is the caller's. */
int layout_index_parse(const void *bytes, size_t len, json_t **index, struct error *err) must_use_;
/*
 * The manifest of @reference: a digest, or a tag, which is the name itself or what comes after the
 * last ':' of "host/name:tag", as podman writes it. "latest" is also the only manifest
 * of an index where that has no name. Return: 1 found, 0 none, or E_INVALID (the descriptor is
 * broken, or two fit equally).
 */
int layout_index_find(const json_t *index, const char *reference, struct layout_entry *entry,
		      struct error *err) must_use_;
/*
 * Name the manifest @reference, or where that is a digest just have it in. A name that another
 * manifest had is taken from it.
 */
void layout_index_set(json_t *index, const char *reference, const char *media_type,
		      const struct layout_entry *entry);

#endif
