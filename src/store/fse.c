/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fse.h"

bool fse_open(struct fse_stream *stream, struct slice in, unsigned unused)
{
	*stream = (struct fse_stream){ .rest = in };
	fse_fill(stream);
	if (unused > stream->count)
		return false;
	stream->count -= unused;
	return !unused || !(in.ptr[in.len - 1] >> (8 - unused));
}

/*
 * A symbol of frequency f has f neighbouring states. The 2^k * f that their bits lead to must
 * cover all N states once, so with k such that N <= f * 2^k < 2 N the first of them use k bits
 * and the others one less.
 */
static void add_symbol(uint8_t symbol, size_t f, struct fse_entry *entries, size_t states)
{
	unsigned k = 0;
	unsigned less;
	size_t wide;

	while (f << k < states)
		k++;
	wide = (2 * states >> k) - f;
	less = k ? k - 1 : 0; /* without bits all are wide */
	for (size_t i = 0; i < f; i++)
		entries[i] = i < wide ? (struct fse_entry){ (uint16_t)(((f + i) << k) - states),
							    (uint8_t)k, symbol }
				      : (struct fse_entry){ (uint16_t)((i - wide) << less),
							    (uint8_t)less, symbol };
}

bool fse_build(const uint16_t *frequencies, size_t symbols, struct fse_entry *table, size_t states)
{
	size_t used = 0;

	for (size_t i = 0; i < symbols; i++) {
		if (frequencies[i] > states - used)
			return false;
		if (frequencies[i])
			add_symbol((uint8_t)i, frequencies[i], table + used, states);
		used += frequencies[i];
	}
	return used == states;
}
