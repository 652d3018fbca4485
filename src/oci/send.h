/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_SEND_H
#define OCI_SEND_H

/*
 * From a disk's plain bytes to slices in a repository. Slices of the image that the disk came from
 * and that still hold the same are that image's own blobs, whatever encoder made them, where the
 * repository has them or can take them over. All others are cut anew, compressed, and uploaded
 * unless they are there already.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "oci/manifest.h"

struct error;
struct oci_name;
struct remote;

/* The disk; its functions are called by several threads at once. */
struct send_source {
	uint64_t size; /* plain bytes, > 0 */
	int (*read)(void *arg, void *bytes, size_t len, uint64_t offset, struct error *err);
	/* the next range that may hold more than zeroes: 1; 0: none; or error */
	int (*next_data)(void *arg, uint64_t offset, uint64_t *start, uint64_t *end,
			 struct error *err);
	void *arg;
};

struct send {
	struct remote *remote;
	const struct send_source *source;
	uint64_t slice_size; /* plain bytes of a slice that is cut anew */
	const struct disk_slice *known; /* of the image it came from, in order; borrowed */
	size_t known_count;
	const struct oci_name
		*known_from; /* where the known blobs are, to be taken over; or NULL */
	const char *spool; /* a directory for compressed bytes on their way */
	unsigned threads;
	/* plain bytes that are done with, from any thread; may be NULL */
	void (*progress)(void *arg, uint64_t bytes);
	void *arg;
};

/*
 * The slice size of decision 7: the smallest power of two from 16 MiB up with which a disk of
 * @size bytes has fewer than 8,000 slices.
 */
uint64_t send_slice_size(uint64_t size);

/* @slices: in order, covering the disk without a gap; owned by the caller (free()). */
int send_disk(const struct send *send, struct disk_slice **slices, size_t *count,
	      struct error *err) must_use_;

#endif
