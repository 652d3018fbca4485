/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_ZERO_DIGEST_H
#define OCI_ZERO_DIGEST_H

/*
 * The digests of slices that hold nothing but zeroes. A disk has thousands of them in one or two
 * lengths; each length is computed once.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "oci/manifest.h"

/* An attacker's manifest could have every slice of another length, and each as large as a disk. */
#define ZERO_LENGTH_MAX (UINT64_C(1) << 32)
enum { ZERO_LENGTHS = 4 };

struct zero_digests {
	pthread_mutex_t mutex;
	size_t count;
	uint64_t lengths[ZERO_LENGTHS];
	struct digest digests[ZERO_LENGTHS];
};
#define ZERO_DIGESTS_INIT                           \
	{                                           \
		.mutex = PTHREAD_MUTEX_INITIALIZER, \
	}

/*
 * Is @slice's content known to be zeroes alone? (Of one that is longer than ZERO_LENGTH_MAX, or of
 * too many different lengths, it is not known.) Any thread may ask.
 */
bool zero_is_slice(struct zero_digests *zero, const struct disk_slice *slice);

#endif
