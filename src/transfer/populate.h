/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_POPULATE_H
#define TRANSFER_POPULATE_H

#include <stddef.h>

#include "base/attr.h"
#include "oci/digest.h"

struct disk_reader;
struct error;
struct home;
struct network_copy;
struct target;
struct vm;

/* An image that was pushed, as the cache is to hold it. */
struct populate {
	const struct vm *vm; /* where its NVRAM and overlays are */
	const struct disk_reader *disk;
	const void *config; /* text of its VM config */
	size_t config_len;
	const struct network_copy *network;
	const void *manifest;
	size_t manifest_len;
	struct digest digest; /* of the manifest */
};

/* push --populate-cache: put it into the cache, with all tags of @target. */
int populate_cache(const struct home *home, const struct target *target,
		   const struct populate *image, struct error *err) must_use_;

#endif
