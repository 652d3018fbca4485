/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 * -------------------
 *
 * A block holds up to 40,000 literals and 10,000 triples (L, M, D): take L of the literals, then
 * repeat M bytes from distance D, where D = 0 is the distance of the triple before. Both are
 * coded by finite state entropy (fse.c), the literals by four states in turn, which share a table
 * of 1024; L, M and D by one each, of tables of 64, 64 and 256. A symbol of L, M or D stands for a
 * range of values; bits that follow those of the state say which.
 *
 *   header, literals' stream, triples' stream
 *
 * "bvx2" packs the header into three 64-bit words, from bit 0 upwards:
 *
 *   literals 20, literals' bytes 20, triples 20, literals' unused bits 3
 *   literal states 4 x 10, triples' bytes 20, triples' unused bits 3
 *   length of the header 32, states of L, M, D 3 x 10
 *
 * and after them the frequencies of all symbols (20 of L, 20 of M, 64 of D, 256 literals) in a
 * prefix code, the low bit first:
 *
 *   00 is 0, 10 is 1; 001 is 2, 101 is 3; xx011 is 4-7; xxxx0111 is 8-23; ten bits and 1111 24-1047
 *
 * Unused bits are stored as that number below 8: 7 is none, 0 is seven. "bvx1" has the same
 * fields as plain numbers, there 0 and -7.
 *
 * These are facts of the format (github.com/lzfse/lzfse defines it; other descriptions, such as
 * docs.rs' keramics-compression, agree); the code is our own and was checked
 * against streams that the reference encoder made (see lzfse.test.c).
 *
 * Every literal and triple costs time whether or not bytes come out of it. So that a block cannot
 * make us work for nothing, it may have no more triples than bytes, and no more literals
 * than bytes and what rounds them to four: an encoder has no use for others.
 */

#include <endian.h>
#include <string.h>

#include "base/error.h"
#include "store/fse.h"
#include "store/lzfse.h"

enum {
	LITERALS_MAX = 40000,
	TRIPLES_MAX = 10000,
	LITERAL_STATES = 1024,
	L_STATES = 64,
	M_STATES = 64,
	D_STATES = 256,
	L_SYMBOLS = 20,
	M_SYMBOLS = 20,
	D_SYMBOLS = 64,
	LITERAL_SYMBOLS = 256,
	SYMBOLS = L_SYMBOLS + M_SYMBOLS + D_SYMBOLS + LITERAL_SYMBOLS,
	V1_HEADER = 772,
	V2_HEADER = 32, /* without the frequencies */
};

struct header {
	size_t length;
	uint32_t literals, triples;
	uint32_t literal_bytes, triple_bytes;
	uint32_t literal_unused, triple_unused; /* bits */
	uint16_t literal_state[4];
	uint16_t l_state, m_state, d_state;
	uint16_t frequencies[SYMBOLS]; /* L, M, D, literals */
};

/* What a symbol stands for: base and the number that so many bits give. */
struct range {
	uint32_t base;
	uint8_t bits;
};

/* clang-format off */
static const struct range l_ranges[L_SYMBOLS] = {
	{ 0, 0 }, { 1, 0 }, { 2, 0 }, { 3, 0 }, { 4, 0 }, { 5, 0 }, { 6, 0 }, { 7, 0 },
	{ 8, 0 }, { 9, 0 }, { 10, 0 }, { 11, 0 }, { 12, 0 }, { 13, 0 }, { 14, 0 }, { 15, 0 },
	{ 16, 2 }, { 20, 3 }, { 28, 5 }, { 60, 8 },
};
static const struct range m_ranges[M_SYMBOLS] = {
	{ 0, 0 }, { 1, 0 }, { 2, 0 }, { 3, 0 }, { 4, 0 }, { 5, 0 }, { 6, 0 }, { 7, 0 },
	{ 8, 0 }, { 9, 0 }, { 10, 0 }, { 11, 0 }, { 12, 0 }, { 13, 0 }, { 14, 0 }, { 15, 0 },
	{ 16, 3 }, { 24, 5 }, { 56, 8 }, { 312, 11 },
};
/* clang-format on */

/* Of D, four symbols each have 0, 1, 2 ... 15 bits. */
static struct range d_range(unsigned symbol)
{
	unsigned bits = symbol / 4;

	return (struct range){ (((1U << bits) - 1) << 2) + ((symbol % 4) << bits), (uint8_t)bits };
}

struct decoder {
	struct fse_entry literal_table[LITERAL_STATES];
	struct fse_entry l_table[L_STATES];
	struct fse_entry m_table[M_STATES];
	struct fse_entry d_table[D_STATES];
	uint8_t literals[LITERALS_MAX + 4];
};

static int damaged(struct error *err, const char *what)
{
	return error_set(err, E_INVALID, "LZFSE data are damaged: %s", what);
}

static uint16_t u16_at(const uint8_t *p)
{
	uint16_t value;

	memcpy(&value, p, sizeof(value));
	return le16toh(value);
}

static uint32_t u32_at(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return le32toh(value);
}

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return le64toh(value);
}

/* The number of @count bits from bit @from of @word. */
static uint32_t bits_of(uint64_t word, unsigned from, unsigned count)
{
	return (uint32_t)(word >> from & ((UINT64_C(1) << count) - 1));
}

/* One frequency from the low bits of @bits. Return: how many bits it has. */
static unsigned read_frequency(uint32_t bits, uint16_t *frequency)
{
	if (!(bits & 1)) {
		*frequency = (uint16_t)bits_of(bits, 1, 1);
		return 2;
	}
	if (!(bits & 2)) {
		*frequency = (uint16_t)(2 + bits_of(bits, 2, 1));
		return 3;
	}
	if (!(bits & 4)) {
		*frequency = (uint16_t)(4 + bits_of(bits, 3, 2));
		return 5;
	}
	if (!(bits & 8)) {
		*frequency = (uint16_t)(8 + bits_of(bits, 4, 4));
		return 8;
	}
	*frequency = (uint16_t)(24 + bits_of(bits, 4, 10));
	return 14;
}

/* All frequencies from just the bytes of @in; without any, all are 0. */
static bool read_frequencies(struct slice in, uint16_t *frequencies)
{
	uint32_t word = 0;
	unsigned count = 0;

	if (!in.len)
		return true;
	for (size_t i = 0; i < SYMBOLS; i++) {
		unsigned used;

		for (; count <= 24 && in.len; count += 8) {
			word |= (uint32_t)*in.ptr++ << count;
			in.len--;
		}
		used = read_frequency(word, &frequencies[i]);
		if (used > count)
			return false;
		word >>= used;
		count -= used;
	}
	return !in.len && count < 8;
}

static bool read_v2(struct slice in, struct header *header)
{
	uint64_t words[3];

	if (in.len < V2_HEADER)
		return false;
	for (unsigned i = 0; i < 3; i++)
		words[i] = u64_at(in.ptr + 8 + 8 * (size_t)i);
	*header = (struct header){
		.literals = bits_of(words[0], 0, 20),
		.literal_bytes = bits_of(words[0], 20, 20),
		.triples = bits_of(words[0], 40, 20),
		.literal_unused = 7 - bits_of(words[0], 60, 3),
		.triple_bytes = bits_of(words[1], 40, 20),
		.triple_unused = 7 - bits_of(words[1], 60, 3),
		.length = bits_of(words[2], 0, 32),
		.l_state = (uint16_t)bits_of(words[2], 32, 10),
		.m_state = (uint16_t)bits_of(words[2], 42, 10),
		.d_state = (uint16_t)bits_of(words[2], 52, 10),
	};
	for (unsigned i = 0; i < 4; i++)
		header->literal_state[i] = (uint16_t)bits_of(words[1], 10 * i, 10);
	if (header->length < V2_HEADER || header->length > in.len)
		return false;
	return read_frequencies((struct slice){ in.ptr + V2_HEADER, header->length - V2_HEADER },
				header->frequencies);
}

/* Two bytes at the end are padding. */
static bool read_v1(struct slice in, struct header *header)
{
	if (in.len < V1_HEADER)
		return false;
	*header = (struct header){
		.length = V1_HEADER,
		.literals = u32_at(in.ptr + 12),
		.triples = u32_at(in.ptr + 16),
		.literal_bytes = u32_at(in.ptr + 20),
		.triple_bytes = u32_at(in.ptr + 24),
		.literal_unused = 0 - u32_at(in.ptr + 28),
		.triple_unused = 0 - u32_at(in.ptr + 40),
		.l_state = u16_at(in.ptr + 44),
		.m_state = u16_at(in.ptr + 46),
		.d_state = u16_at(in.ptr + 48),
	};
	for (size_t i = 0; i < 4; i++)
		header->literal_state[i] = u16_at(in.ptr + 32 + 2 * i);
	for (size_t i = 0; i < SYMBOLS; i++)
		header->frequencies[i] = u16_at(in.ptr + 50 + 2 * i);
	return header->literal_unused < 8 && header->triple_unused < 8;
}

/* @raw: the bytes that shall come out. */
static bool is_sane(const struct header *header, size_t raw)
{
	for (unsigned i = 0; i < 4; i++)
		if (header->literal_state[i] >= LITERAL_STATES)
			return false;
	return header->l_state < L_STATES && header->m_state < M_STATES &&
	       header->d_state < D_STATES && header->literals <= LITERALS_MAX &&
	       header->triples <= TRIPLES_MAX && header->triples <= raw &&
	       header->literals <= raw + 3;
}

static bool build_tables(const struct header *header, struct decoder *decoder)
{
	const uint16_t *f = header->frequencies;

	if (header->triples &&
	    (!fse_build(f, L_SYMBOLS, decoder->l_table, L_STATES) ||
	     !fse_build(f + L_SYMBOLS, M_SYMBOLS, decoder->m_table, M_STATES) ||
	     !fse_build(f + L_SYMBOLS + M_SYMBOLS, D_SYMBOLS, decoder->d_table, D_STATES)))
		return false;
	return !header->literals || fse_build(f + SYMBOLS - LITERAL_SYMBOLS, LITERAL_SYMBOLS,
					      decoder->literal_table, LITERAL_STATES);
}

static bool decode_literals(const struct header *header, struct slice in, struct decoder *decoder)
{
	struct fse_stream stream;
	uint16_t state[4];

	memcpy(state, header->literal_state, sizeof(state));
	if (!fse_open(&stream, in, header->literal_unused))
		return false;
	for (size_t i = 0; i < header->literals; i += 4) {
		fse_fill(&stream); /* at most 4 x 10 bits */
		for (size_t j = 0; j < 4; j++)
			decoder->literals[i + j] =
				fse_symbol(&stream, decoder->literal_table, &state[j]);
	}
	return !stream.failed;
}

static uint32_t take_value(struct fse_stream *stream, struct range range)
{
	return range.base + fse_take(stream, range.bits);
}

static bool decode_triples(const struct header *header, struct slice in,
			   const struct decoder *decoder, struct lz_output *out)
{
	uint16_t l_state = header->l_state;
	uint16_t m_state = header->m_state;
	uint16_t d_state = header->d_state;
	const uint8_t *literals = decoder->literals;
	size_t left = header->literals;
	size_t distance = 0;
	struct fse_stream stream;

	if (!fse_open(&stream, in, header->triple_unused))
		return false;
	for (uint32_t i = 0; i < header->triples; i++) {
		uint32_t l, m, d;

		fse_fill(&stream); /* at most 14, 17 and 23 bits: 54 */
		l = take_value(&stream, l_ranges[fse_symbol(&stream, decoder->l_table, &l_state)]);
		m = take_value(&stream, m_ranges[fse_symbol(&stream, decoder->m_table, &m_state)]);
		d = take_value(&stream, d_range(fse_symbol(&stream, decoder->d_table, &d_state)));
		distance = d ? d : distance;
		if (stream.failed || l > left || !lz_add(out, literals, l) ||
		    !lz_repeat(out, distance, m))
			return false;
		literals += l;
		left -= l;
	}
	return true;
}

int lzfse_decode_block(struct slice in, struct lz_output *out, size_t *used, struct error *err)
{
	struct decoder decoder;
	struct header header;
	struct slice rest;

	if (!(in.ptr[3] == '1' ? read_v1(in, &header) : read_v2(in, &header)) ||
	    !is_sane(&header, out->room - out->len))
		return damaged(err, "a block's header");
	rest = (struct slice){ in.ptr + header.length, in.len - header.length };
	if (rest.len < header.literal_bytes ||
	    rest.len - header.literal_bytes < header.triple_bytes)
		return damaged(err, "a block is cut off");
	if (!build_tables(&header, &decoder))
		return damaged(err, "a block's frequencies");
	if (!decode_literals(&header, (struct slice){ rest.ptr, header.literal_bytes }, &decoder))
		return damaged(err, "a block's literals");
	rest.ptr += header.literal_bytes;
	if (!decode_triples(&header, (struct slice){ rest.ptr, header.triple_bytes }, &decoder,
			    out))
		return damaged(err, "a block's matches");
	*used = header.length + header.literal_bytes + header.triple_bytes;
	return 0;
}
