/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_REUSE_H
#define TRANSFER_REUSE_H

/* What of an image is in the cache already, as slices of other images. */

#include <stdbool.h>
#include <stddef.h>

#include "oci/fetch.h"
#include "store/vm.h"

struct home;
struct manifest;

enum { REUSE_IMAGES_MAX = 64 };

struct reuse {
	struct fetch_reuse *entries; /* sorted by fetch_compare_reuse() */
	size_t count, cap;
	struct reuse_image {
		struct vm vm; /* open, so that it is not pruned meanwhile */
		int disk;
		bool decoded; /* its blobs were, here */
	} images[REUSE_IMAGES_MAX];
	size_t image_count;
};
#define REUSE_INIT \
	{          \
		0  \
	}

/* Gather what @manifest needs. An image that cannot be read has nothing to give. */
void reuse_gather(struct reuse *reuse, const struct home *home, const struct manifest *manifest);
void reuse_release(struct reuse *reuse);
#define auto_reuse cleanup_(reuse_release) struct reuse

#endif
