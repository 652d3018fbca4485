/* SPDX-License-Identifier: Apache-2.0 */

/* An LZFSE stream, after three bytes that say how much comes out of it (little-endian). */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "store/lzfse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	size_t len;

	if (size < 3)
		return 0;
	len = data[0] | (size_t)data[1] << 8 | (size_t)(data[2] & 15) << 16; /* up to 1 MiB */
	/* of just the size, so that a sanitizer sees what goes beyond */
	auto_free uint8_t *out = xmalloc(len ? len : 1);

	if (lzfse_decode((struct slice){ data + 3, size - 3 }, out, len, &err) < 0)
		assert(err.code == E_INVALID && err.text[0]);
	return 0;
}
