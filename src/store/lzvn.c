/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 * -------------------
 *
 * A stream is a row of codes. Each says: copy L literal bytes, which follow it, then repeat M bytes
 * from a distance D. By its first byte (facts of the format as the table of codes that is
 * known from Apple's reference and from the documentation of several decoders, such as
 * docs.rs/lzvn; checked against streams that the reference encoder made):
 *
 *   LLMMMDDD DDDDDDDD            small: M + 3, eleven bits of distance, high ones first
 *   LLMMM110                     the distance of the match before; not with L = 0
 *   LLMMM111 DDDDDDDD DDDDDDDD   large: M + 3, sixteen bits of distance, little-endian
 *   101LLMMM DDDDDDMM DDDDDDDD   medium: five bits of M + 3, high ones first; fourteen of distance
 *   1110LLLL, 11100000 LLLLLLLL  literals alone, the second form L + 16
 *   1111MMMM, 11110000 MMMMMMMM  match alone at the distance before, the second form M + 16
 *   00000110 and seven bytes     the end
 *   00001110, 00010110           nothing
 *
 * 0111xxxx, 1101xxxx and the remaining ones of 00xxx110 do not occur.
 */

#include "store/lzvn.h"

#include "base/error.h"

enum { END_CODE = 0x06, END_LENGTH = 8 };

enum code_kind { CODE_COPY, CODE_END, CODE_BAD };

struct code {
	enum code_kind kind;
	size_t length; /* of the code itself */
	size_t literals, match, distance;
};

static const struct code bad = { .kind = CODE_BAD };

static struct code read_literals(struct slice in)
{
	if (in.ptr[0] != 0xe0)
		return (struct code){ .length = 1, .literals = in.ptr[0] & 15U };
	return in.len < 2 ? bad : (struct code){ .length = 2, .literals = in.ptr[1] + 16U };
}

static struct code read_match(struct slice in, size_t distance)
{
	if (in.ptr[0] != 0xf0)
		return (struct code){ .length = 1, .match = in.ptr[0] & 15U, .distance = distance };
	if (in.len < 2)
		return bad;
	return (struct code){ .length = 2, .match = in.ptr[1] + 16U, .distance = distance };
}

static struct code read_medium(struct slice in)
{
	unsigned first = in.ptr[0];
	unsigned rest;

	if (in.len < 3)
		return bad;
	rest = in.ptr[1] | (unsigned)in.ptr[2] << 8;
	return (struct code){ .length = 3,
			      .literals = first >> 3 & 3,
			      .match = ((first & 7) << 2 | (rest & 3)) + 3,
			      .distance = rest >> 2 };
}

/* The codes without literals that would repeat a distance mean something else. */
static struct code read_special(struct slice in)
{
	if (in.ptr[0] == END_CODE)
		return in.len == END_LENGTH ? (struct code){ .kind = CODE_END } : bad;
	return in.ptr[0] == 0x0e || in.ptr[0] == 0x16 ? (struct code){ .length = 1 } : bad;
}

/* The codes with two bits of L and three of M; @distance is the one before. */
static struct code read_short(struct slice in, size_t distance)
{
	unsigned first = in.ptr[0];
	struct code code = { .literals = first >> 6, .match = (first >> 3 & 7) + 3 };

	if ((first & 7) == 6) {
		if (!code.literals)
			return read_special(in);
		code.length = 1;
		code.distance = distance;
	} else if ((first & 7) == 7) {
		if (in.len < 3)
			return bad;
		code.length = 3;
		code.distance = in.ptr[1] | (size_t)in.ptr[2] << 8;
	} else {
		if (in.len < 2)
			return bad;
		code.length = 2;
		code.distance = (first & 7) << 8 | in.ptr[1];
	}
	return code;
}

static struct code read_code(struct slice in, size_t distance)
{
	if (!in.len)
		return bad;
	switch (in.ptr[0] >> 4) {
	case 0x7:
	case 0xd:
		return bad;
	case 0xa:
	case 0xb:
		return read_medium(in);
	case 0xe:
		return read_literals(in);
	case 0xf:
		return read_match(in, distance);
	default:
		return read_short(in, distance);
	}
}

static void skip(struct slice *in, size_t n)
{
	in->ptr += n;
	in->len -= n;
}

static bool copy(const struct code *code, struct slice *in, struct lz_output *out)
{
	skip(in, code->length);
	if (code->literals > in->len || !lz_add(out, in->ptr, code->literals))
		return false;
	skip(in, code->literals);
	return lz_repeat(out, code->distance, code->match);
}

int lzvn_decode(struct slice in, struct lz_output *out, struct error *err)
{
	size_t distance = 0;

	for (;;) {
		struct code code = read_code(in, distance);

		if (code.kind == CODE_END)
			return 0;
		if (code.kind == CODE_BAD || !copy(&code, &in, out))
			return error_set(err, E_INVALID, "LZVN data are damaged");
		if (code.match)
			distance = code.distance;
	}
}
