/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/digest.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

static const char prefix[] = "sha256:";

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int digest_parse(const char *text, struct digest *digest)
{
	struct digest parsed = { 0 };
	const char *hex = text + sizeof(prefix) - 1;

	if (!str_starts(text, prefix) || strlen(hex) != 2 * (size_t)DIGEST_BYTES)
		return -EINVAL;
	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		parsed.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*digest = parsed;
	return 0;
}

void digest_format(const struct digest *digest, char text[DIGEST_TEXT])
{
	static const char digits[] = "0123456789abcdef";
	char *out = text + sizeof(prefix) - 1;

	memcpy(text, prefix, sizeof(prefix));
	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		*out++ = digits[digest->bytes[i] >> 4];
		*out++ = digits[digest->bytes[i] & 15];
	}
	*out = '\0';
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_BYTES) == 0;
}

int digest_compare(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_BYTES);
}
