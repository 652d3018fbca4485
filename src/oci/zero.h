/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_ZERO_H
#define OCI_ZERO_H

/* Most of a disk is zeroes: they are neither compressed nor written. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Are all bytes zero? (The first is, and each equals the one before it: libc compares in vectors.)
 */
static inline bool all_zero(const uint8_t *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

#endif
