/* SPDX-License-Identifier: Apache-2.0 */

/* Apple's LZ4 framing: the pieces that it comes in make no difference; what is encoded comes back.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "oci/apple_lz4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 1024 * 1024 };

static int append(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	(void)err;
	assert(len > 0 && len <= APPLE_LZ4_BLOCK_MAX);
	str_add(arg, bytes, len);
	return 0;
}

static int decode(const uint8_t *bytes, size_t len, size_t piece, struct str *out)
{
	struct apple_lz4_decoder *d = apple_lz4_decoder_new(LIMIT, append, out);
	struct error err = ERROR_INIT;
	int r = 0;

	for (size_t at = 0; r == 0 && at < len; at += piece)
		r = apple_lz4_decode(d, bytes + at, len - at < piece ? len - at : piece, &err);
	if (r == 0)
		r = apple_lz4_decode_end(d, &err);
	assert(r == 0 || (r == -err.code && err.text[0]));
	assert(apple_lz4_decoded(d) == out->len && out->len <= LIMIT);
	(void)apple_lz4_decoder_free(d);
	return r;
}

static void encode(const uint8_t *bytes, size_t len)
{
	struct apple_lz4_encoder *e = apple_lz4_encoder_new();
	auto_str stream = STR_INIT;
	auto_str out = STR_INIT;
	int r;

	for (size_t at = 0; at < len; at += APPLE_LZ4_BLOCK)
		apple_lz4_encode(e, bytes + at,
				 len - at < APPLE_LZ4_BLOCK ? len - at : APPLE_LZ4_BLOCK, &stream);
	apple_lz4_encode_end(&stream);
	r = decode((const uint8_t *)stream.ptr, stream.len, stream.len, &out);
	assert(r == 0 && out.len == len && memcmp(out.ptr, bytes, len) == 0);
	(void)apple_lz4_encoder_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_str whole = STR_INIT;
	auto_str pieces = STR_INIT;
	int r = decode(data, size, size, &whole);

	assert(decode(data, size, size % 13 + 1, &pieces) == r);
	assert(whole.len == pieces.len && memcmp(whole.ptr, pieces.ptr, whole.len) == 0);
	encode(data, size < LIMIT ? size : LIMIT);
	encode((const uint8_t *)whole.ptr, whole.len);
	return 0;
}
