/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_FETCH_H
#define OCI_FETCH_H

/*
 * From the slices of a manifest to a file. Each content is, in this order,
 *
 *   zeroes: then nothing is done, the place is a hole;
 *   in the file already, from a pull that was interrupted;
 *   in another file that holds the same content: shared (FICLONERANGE) or copied;
 *   fetched: verified, decoded, written without its pages of zeroes.
 *
 * Whatever way it came, its digest is verified in the new file. A content that occurs several times
 * is had once and copied from there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "oci/manifest.h"

struct error;
struct remote;

/* Where else a content may be found: not believed, but verified. */
struct fetch_reuse {
	struct digest content;
	uint64_t length;
	uint64_t offset;
	int fd; /* open for reading, borrowed */
	struct digest blob; /* that it came in there */
	bool decoded; /* here, so that this blob is known to hold this content */
};

struct fetch {
	struct remote *remote;
	const struct disk_slice *slices; /* of one file, borrowed */
	size_t count;
	int fd; /* the file: of full size, open for reading and writing */
	bool fresh; /* it holds nothing yet */
	unsigned threads;
	const struct fetch_reuse *reuse; /* sorted by fetch_compare_reuse() */
	size_t reuse_count;
	/* bytes of compressed size that are done with, from any thread; may be NULL */
	void (*progress)(void *arg, uint64_t bytes);
	void *arg;
	/*
	 * Called, from any thread, before a slice gets its content in a way that says nothing of
	 * what its own blob holds (not of zeroes); may be NULL.
	 */
	int (*blob_not_decoded)(void *arg, struct error *err);
	void *blob_arg;
};

/* For qsort() and bsearch(): by content, then length. */
int fetch_compare_reuse(const void *a, const void *b);

/*
 * Fill the file. Not fsynced. After an error what was verified stays, so that it can go on from
 * there.
 */
int fetch_slices(const struct fetch *fetch, struct error *err) must_use_;

#endif
