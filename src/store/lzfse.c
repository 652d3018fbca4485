/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 * -------------------
 *
 * A stream is a row of blocks; each begins with a magic number and, but for the last, with the
 * number of bytes that come out of it. All numbers are little-endian:
 *
 *   "bvx-" raw                 that many bytes as they are
 *   "bvxn" raw payload         LZVN (lzvn.c)
 *   "bvx1" raw ...             finite state entropy, plain header (lzfse_block.c)
 *   "bvx2" raw ...             the same with a packed header
 *   "bvx$"                     the end
 *
 * Matches may reach back into earlier blocks. Facts of the format; see lzfse_block.c.
 */

#include "store/lzfse.h"

#include <endian.h>
#include <string.h>

#include "base/error.h"
#include "store/lzvn.h"

enum { MAGIC = 4, RAW_HEADER = 8, LZVN_HEADER = 12 };

static uint32_t number_at(struct slice in, size_t offset)
{
	uint32_t value;

	memcpy(&value, in.ptr + offset, sizeof(value));
	return le32toh(value);
}

static bool is_block(struct slice in, const char *magic)
{
	return in.len >= MAGIC && memcmp(in.ptr, magic, MAGIC) == 0;
}

static int damaged(struct error *err, const char *what)
{
	return error_set(err, E_INVALID, "LZFSE data are damaged: %s", what);
}

static int decode_stored(struct slice in, struct lz_output *out, size_t *used, struct error *err)
{
	size_t len = out->room - out->len;

	if (len > in.len - RAW_HEADER || !lz_add(out, in.ptr + RAW_HEADER, len))
		return damaged(err, "a block is cut off");
	*used = RAW_HEADER + len;
	return 0;
}

static int decode_lzvn(struct slice in, struct lz_output *out, size_t *used, struct error *err)
{
	size_t len;
	int r;

	if (in.len < LZVN_HEADER || number_at(in, 8) > in.len - LZVN_HEADER)
		return damaged(err, "a block is cut off");
	len = number_at(in, 8);
	r = lzvn_decode((struct slice){ in.ptr + LZVN_HEADER, len }, out, err);
	if (r == 0)
		*used = LZVN_HEADER + len;
	return r;
}

static int decode_any(struct slice in, struct lz_output *out, size_t *used, struct error *err)
{
	if (is_block(in, "bvx-"))
		return decode_stored(in, out, used, err);
	if (is_block(in, "bvxn"))
		return decode_lzvn(in, out, used, err);
	if (is_block(in, "bvx1") || is_block(in, "bvx2"))
		return lzfse_decode_block(in, out, used, err);
	return damaged(err, "unknown block");
}

/* One block: while it is decoded, there is room for just what it announces. */
static int decode_next(struct slice *in, struct lz_output *out, struct error *err)
{
	size_t room = out->room;
	size_t used = 0;
	int r;

	if (in->len < RAW_HEADER)
		return damaged(err, "it has no end");
	if (number_at(*in, 4) > room - out->len)
		return damaged(err, "more than was announced");
	out->room = out->len + number_at(*in, 4);
	r = decode_any(*in, out, &used, err);
	if (r == 0 && out->len != out->room)
		r = damaged(err, "a block is too short");
	if (r < 0)
		return r;
	out->room = room;
	*in = (struct slice){ in->ptr + used, in->len - used };
	return 0;
}

int lzfse_decode(struct slice in, void *bytes, size_t len, struct error *err)
{
	struct lz_output out = { .bytes = bytes, .room = len };

	while (!is_block(in, "bvx$")) {
		int r = decode_next(&in, &out, err);

		if (r < 0)
			return r;
	}
	if (in.len != MAGIC)
		return damaged(err, "it goes on after its end");
	return out.len == len ? 0 : damaged(err, "less than was announced");
}
