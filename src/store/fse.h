/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_FSE_H
#define STORE_FSE_H

/*
 * Finite state entropy decoding as LZFSE uses it: a state selects a symbol and how many bits of
 * the stream lead to the next state. Streams are read from their last bit to their first.
 */

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"
#include "base/str.h"

/* A stream of bits. After fse_fill() up to FSE_BITS of them can be taken. */
enum { FSE_BITS = 56 };
struct fse_stream {
	struct slice rest; /* not yet in word */
	uint64_t word; /* the low count bits are yet to be taken, the highest first */
	unsigned count;
	bool failed; /* more was taken than there is */
};

/*
 * Start at the end of @in, of which the top @unused (0-7) bits of the last byte are no part and
 * must be zero. Return: false where that is not so.
 */
bool fse_open(struct fse_stream *stream, struct slice in, unsigned unused) must_use_;

static inline void fse_fill(struct fse_stream *stream)
{
	if (stream->rest.len >= sizeof(uint64_t) && stream->count < FSE_BITS) {
		unsigned bits = (63 - stream->count) & ~7U; /* whole bytes: 8 to 56 bits */
		uint64_t word;

		memcpy(&word, stream->rest.ptr + stream->rest.len - sizeof(word), sizeof(word));
		stream->word = stream->word << bits | le64toh(word) >> (64 - bits);
		stream->count += bits;
		stream->rest.len -= bits / 8;
		return;
	}
	while (stream->count < FSE_BITS && stream->rest.len) {
		stream->word = stream->word << 8 | stream->rest.ptr[--stream->rest.len];
		stream->count += 8;
	}
}

/* The next @n (at most 24) bits; where there are not so many, 0, and the stream has failed. */
static inline uint32_t fse_take(struct fse_stream *stream, unsigned n)
{
	if (n > stream->count) {
		stream->failed = true;
		return 0;
	}
	stream->count -= n;
	return (uint32_t)(stream->word >> stream->count) & ((UINT32_C(1) << n) - 1);
}

struct fse_entry {
	uint16_t next; /* plus the bits: the next state */
	uint8_t bits;
	uint8_t symbol;
};

/*
 * Make the table of @states (a power of two) entries from the frequencies of @symbols symbols.
 * Return: false where their sum is not @states.
 */
bool fse_build(const uint16_t *frequencies, size_t symbols, struct fse_entry *table,
	       size_t states) must_use_;

/* The symbol of *state, which then is the next one; *state is below the table's size. */
static inline uint8_t fse_symbol(struct fse_stream *stream, const struct fse_entry *table,
				 uint16_t *state)
{
	const struct fse_entry *entry = &table[*state];

	*state = (uint16_t)(entry->next + fse_take(stream, entry->bits));
	return entry->symbol;
}

#endif
