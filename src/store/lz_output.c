/* SPDX-License-Identifier: Apache-2.0 */
#include "store/lz_output.h"

#include <string.h>

bool lz_add(struct lz_output *out, const uint8_t *from, size_t n)
{
	if (n > out->room - out->len)
		return false;
	if (n)
		memcpy(out->bytes + out->len, from, n);
	out->len += n;
	return true;
}

/* What is copied repeats with a period of @distance, so each round may reach twice as far back. */
bool lz_repeat(struct lz_output *out, size_t distance, size_t n)
{
	if (n > out->room - out->len || (n && (!distance || distance > out->len)))
		return false;
	while (n) {
		size_t part = n < distance ? n : distance;
		uint8_t *end = out->bytes + out->len;

		memcpy(end, end - distance, part);
		out->len += part;
		n -= part;
		distance += part;
	}
	return true;
}
