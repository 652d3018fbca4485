/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_LZ_OUTPUT_H
#define STORE_LZ_OUTPUT_H

/* What a Lempel-Ziv decoder writes to: bytes are added, or repeated from those before. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct lz_output {
	uint8_t *bytes;
	size_t len; /* written so far */
	size_t room; /* of bytes */
};

/* Append @n bytes. Return: false, and nothing was done, where there is no room. */
bool lz_add(struct lz_output *out, const uint8_t *from, size_t n) must_use_;
/*
 * Append the @n bytes that begin @distance before the end, which may overlap what is appended.
 * Return: false, and nothing was done, where there is no room or nothing so far back.
 */
bool lz_repeat(struct lz_output *out, size_t distance, size_t n) must_use_;

#endif
