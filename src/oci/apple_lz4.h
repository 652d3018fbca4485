/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_APPLE_LZ4_H
#define OCI_APPLE_LZ4_H

/*
 * Apple's framing around LZ4 blocks (contract 5.4), little-endian:
 *
 *   "bv41" u32 plain size, u32 compressed size, an LZ4 block
 *   "bv4-" u32 size, stored bytes
 *   "bv4$" the end
 *
 * Bytes in, bytes out, no I/O: the decoder takes the stream in pieces of any size and gives
 * the plain bytes to a function. Blocks may refer to the 64 KiB of plain bytes before them. The
 * encoder's blocks hold 64 KiB and refer to nothing before them; equal input gives
 * equal output for one version of liblz4.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct str;

enum {
	APPLE_LZ4_BLOCK = 64 * 1024, /* plain bytes of one of our blocks */
	APPLE_LZ4_BLOCK_MAX = 4 * 1024 * 1024, /* of one that we read, plain or compressed */
};

/* Return: 0, or an error that ends decoding. */
typedef int (*apple_lz4_write_fn)(void *arg, const uint8_t *bytes, size_t len, struct error *err);

struct apple_lz4_decoder;

/* @limit: plain bytes at most (E_TOO_BIG). Owned by the caller. */
struct apple_lz4_decoder *apple_lz4_decoder_new(uint64_t limit, apple_lz4_write_fn write,
						void *arg);
/* E_INVALID, E_TOO_BIG or what write() returned; then the decoder is of no use any more. */
int apple_lz4_decode(struct apple_lz4_decoder *decoder, const void *bytes, size_t len,
		     struct error *err) must_use_;
/* No more bytes come: E_INVALID unless the end was seen with nothing behind it. */
int apple_lz4_decode_end(const struct apple_lz4_decoder *decoder, struct error *err) must_use_;
/* Plain bytes given out so far. */
uint64_t apple_lz4_decoded(const struct apple_lz4_decoder *decoder);
struct apple_lz4_decoder *apple_lz4_decoder_free(struct apple_lz4_decoder *decoder);

struct apple_lz4_encoder;

struct apple_lz4_encoder *apple_lz4_encoder_new(void);
/* Append the block of 1 to APPLE_LZ4_BLOCK plain bytes to @out. */
void apple_lz4_encode(struct apple_lz4_encoder *encoder, const void *bytes, size_t len,
		      struct str *out);
/* Append the end. */
void apple_lz4_encode_end(struct str *out);
struct apple_lz4_encoder *apple_lz4_encoder_free(struct apple_lz4_encoder *encoder);

#endif
