/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_LZFSE_H
#define STORE_LZFSE_H

/* Decoding of LZFSE, the compression of Apple's archives. */

#include "base/str.h"
#include "store/lz_output.h"

struct error;

/*
 * Decode the whole stream @in into exactly @len bytes at @bytes. E_INVALID: it is damaged, goes
 * on after its end, or is of another length. The time taken is bounded by the lengths of both.
 */
int lzfse_decode(struct slice in, void *bytes, size_t len, struct error *err) must_use_;

/* For lzfse.c: the blocks "bvx1" and "bvx2" (lzfse_block.c). */
/*
 * Decode the block at the beginning of @in, magic included, whose bytes are all that @out has
 * room for. *used: its length.
 */
int lzfse_decode_block(struct slice in, struct lz_output *out, size_t *used,
		       struct error *err) must_use_;

#endif
