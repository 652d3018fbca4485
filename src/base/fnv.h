/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FNV_H
#define BASE_FNV_H

/*
 * The hash FNV-1a (Fowler, Noll, Vo) of 64 bits: tells what differs by accident. Whoever wants two
 * contents with one sum finds them.
 */

#include <stddef.h>
#include <stdint.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)

/* The sum of what @sum is of and then @len bytes; of nothing it is FNV_START. */
static inline uint64_t fnv_add(uint64_t sum, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
	return sum;
}

#endif
