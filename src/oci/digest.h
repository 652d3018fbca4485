/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_DIGEST_H
#define OCI_DIGEST_H

/*
 * SHA-256 digests as values (OCI image-spec, descriptor.md "Digests"): the one algorithm
 * that the image format uses. Computing them is oci/hash.h's.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum { DIGEST_BYTES = 32, DIGEST_TEXT = sizeof("sha256:") + 2 * DIGEST_BYTES };

struct digest {
	uint8_t bytes[DIGEST_BYTES];
};

/* "sha256:" and 64 lower-case hex digits, nothing else. Return: 0, or -EINVAL. */
int digest_parse(const char *text, struct digest *digest) must_use_;
void digest_format(const struct digest *digest, char text[DIGEST_TEXT]);
bool digest_equal(const struct digest *a, const struct digest *b);
/* By byte value, for qsort(): negative, 0 or positive. */
int digest_compare(const struct digest *a, const struct digest *b);

#endif
