/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A frame, header and block, that lies whole in the piece that the caller gives is decoded from
 * there. Of one that does not, the bytes that are there are held until the rest has come.
 *
 * Plain bytes are decoded into a window, each block right behind the one before it, so that what a
 * block refers to lies directly before it, which is liblz4's fast case. When the window is full,
 * its last 64 KiB move to its start.
 *
 * What a header announces costs no memory before the bytes that back it are there: the held
 * bytes grow with what has come, never beyond the frame, and a block of n bytes that announces
 * more than 255 n plain ones is refused at its header (no LZ4 byte can stand for more).
 * So a decoder has at most 2 APPLE_LZ4_BLOCK_MAX + HISTORY bytes, some 8.1 MiB (and the old
 * window while it moves to a larger one), and mostly WINDOW and 64 KiB.
 *
 * The encoder begins every block anew, so that what it makes of one depends on nothing before.
 */

#include "oci/apple_lz4.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <lz4.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum {
	MAGIC = 4, /* bytes */
	HEADER_LZ4 = 12, /* magic, plain size, compressed size */
	HEADER_STORED = 8, /* magic, size */
	HISTORY = 64 * 1024, /* how far back a block may refer */
	WINDOW = HISTORY + 4 * APPLE_LZ4_BLOCK, /* at least; within a processor's L2 cache */
	HELD_FIRST = 4096, /* bytes held at first */
	RATIO_MAX = 255, /* plain bytes that one LZ4 byte can stand for */
};

/* ---- frames ---- */

enum frame_kind { FRAME_LZ4, FRAME_STORED, FRAME_END, FRAME_KINDS };

static const struct {
	char magic[MAGIC + 1];
	size_t header;
} frames[] = {
	[FRAME_LZ4] = { "bv41", HEADER_LZ4 },
	[FRAME_STORED] = { "bv4-", HEADER_STORED },
	[FRAME_END] = { "bv4$", MAGIC },
};
_Static_assert(array_size(frames) == FRAME_KINDS, "one entry for each kind");

struct frame {
	enum frame_kind kind;
	size_t header; /* bytes */
	size_t plain;
	size_t stored; /* the bytes behind the header */
};

static size_t read_u32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return le32toh(value);
}

static int check_sizes(const struct frame *frame, struct error *err)
{
	if (frame->plain > APPLE_LZ4_BLOCK_MAX || frame->stored > APPLE_LZ4_BLOCK_MAX)
		return error_set(err, E_INVALID, "an LZ4 block of %zu bytes, %zu when decoded",
				 frame->stored, frame->plain);
	if (frame->plain > frame->stored * RATIO_MAX)
		return error_set(err, E_INVALID, "an LZ4 block of %zu bytes cannot hold %zu",
				 frame->stored, frame->plain);
	return 0;
}

/*
 * What do the @len bytes begin with? Return: 1, a whole frame; 0, a part of one: @frame->header +
 * @frame->stored bytes are wanted before more can be said; or error.
 */
static int parse_frame(const uint8_t *bytes, size_t len, struct frame *frame, struct error *err)
{
	size_t kind = 0;
	int r;

	*frame = (struct frame){ .header = MAGIC };
	if (len < MAGIC)
		return 0;
	while (kind < FRAME_KINDS && memcmp(bytes, frames[kind].magic, MAGIC) != 0)
		kind++;
	if (kind == FRAME_KINDS)
		return error_set(err, E_INVALID, "no LZ4 block begins with %02x %02x %02x %02x",
				 bytes[0], bytes[1], bytes[2], bytes[3]);
	frame->kind = (enum frame_kind)kind;
	frame->header = frames[kind].header;
	if (len < frame->header)
		return 0;
	if (frame->kind != FRAME_END)
		frame->plain = read_u32(bytes + MAGIC);
	frame->stored = frame->kind == FRAME_LZ4 ? read_u32(bytes + HEADER_STORED) : frame->plain;
	r = check_sizes(frame, err);
	return r < 0 ? r : len >= frame->header + frame->stored;
}

/* ---- the decoder ---- */

struct apple_lz4_decoder {
	uint64_t limit;
	uint64_t decoded;
	apple_lz4_write_fn write;
	void *arg;
	bool ended; /* the end was seen */
	uint8_t *window;
	size_t window_size;
	size_t window_used;
	uint8_t *held; /* the beginning of a frame */
	size_t held_size;
	size_t held_used;
};

struct apple_lz4_decoder *apple_lz4_decoder_new(uint64_t limit, apple_lz4_write_fn write, void *arg)
{
	struct apple_lz4_decoder *d = xcalloc(1, sizeof(*d));

	d->limit = limit;
	d->write = write;
	d->arg = arg;
	d->window = xmalloc(WINDOW);
	d->window_size = WINDOW;
	return d;
}

struct apple_lz4_decoder *apple_lz4_decoder_free(struct apple_lz4_decoder *d)
{
	if (d) {
		free(d->window);
		free(d->held);
	}
	free(d);
	return NULL;
}

uint64_t apple_lz4_decoded(const struct apple_lz4_decoder *d)
{
	return d->decoded;
}

static size_t history(const struct apple_lz4_decoder *d)
{
	return d->window_used < HISTORY ? d->window_used : HISTORY;
}

/* Make room for @len bytes behind the history. */
static void reserve(struct apple_lz4_decoder *d, size_t len)
{
	size_t keep = history(d), size = HISTORY + len;
	uint8_t *grown;

	if (d->window_size - d->window_used >= len)
		return;
	if (d->window_size >= size) {
		memmove(d->window, d->window + d->window_used - keep, keep);
		d->window_used = keep;
		return;
	}
	grown = xmalloc(size);
	memcpy(grown, d->window + d->window_used - keep, keep);
	free(d->window);
	d->window = grown;
	d->window_size = size;
	d->window_used = keep;
}

static int decode_block(struct apple_lz4_decoder *d, const struct frame *frame,
			const uint8_t *stored, struct error *err)
{
	size_t before = history(d);
	uint8_t *plain = d->window + d->window_used;
	int n;

	if (frame->kind == FRAME_STORED) {
		memcpy(plain, stored, frame->plain);
		return 0;
	}
	if (!frame->stored && !frame->plain)
		return 0;
	n = LZ4_decompress_safe_usingDict((const char *)stored, (char *)plain, (int)frame->stored,
					  (int)frame->plain, (const char *)plain - before,
					  (int)before);
	if (n < 0 || (size_t)n != frame->plain)
		return error_set(err, E_INVALID,
				 "the LZ4 block at byte %" PRIu64 " of the content is damaged",
				 d->decoded);
	return 0;
}

static int take_frame(struct apple_lz4_decoder *d, const struct frame *frame, const uint8_t *stored,
		      struct error *err)
{
	int r;

	if (frame->kind == FRAME_END)
		d->ended = true;
	if (frame->plain > d->limit - d->decoded)
		return error_set(err, E_TOO_BIG,
				 "more than the %" PRIu64 " bytes that were announced", d->limit);
	reserve(d, frame->plain);
	r = decode_block(d, frame, stored, err);
	if (r == 0 && frame->plain)
		r = d->write(d->arg, d->window + d->window_used, frame->plain, err);
	if (r < 0)
		return r;
	d->window_used += frame->plain;
	d->decoded += frame->plain;
	return 0;
}

static void slice_skip(struct slice *s, size_t n)
{
	s->ptr += n;
	s->len -= n;
}

/* Move bytes of @in to the held ones until there are @wanted. */
static void hold(struct apple_lz4_decoder *d, struct slice *in, size_t wanted)
{
	size_t n = wanted - d->held_used;

	if (n > in->len)
		n = in->len;
	if (d->held_size < d->held_used + n) {
		size_t size = 2 * (d->held_used + n);

		if (size > wanted)
			size = wanted;
		d->held_size = size < HELD_FIRST ? HELD_FIRST : size;
		d->held = xrealloc(d->held, d->held_size, 1);
	}
	memcpy(d->held + d->held_used, in->ptr, n);
	d->held_used += n;
	slice_skip(in, n);
}

/* One step on: a frame, or the part of it that @in has. */
static int decode_some(struct apple_lz4_decoder *d, struct slice *in, struct error *err)
{
	struct frame frame;
	int r;

	if (d->ended)
		return error_set(err, E_INVALID, "bytes follow the end of the LZ4 blocks");
	r = d->held_used ? parse_frame(d->held, d->held_used, &frame, err)
			 : parse_frame(in->ptr, in->len, &frame, err);
	if (r < 0)
		return r;
	if (r > 0) { /* in the piece: what is held is never whole here */
		r = take_frame(d, &frame, in->ptr + frame.header, err);
		slice_skip(in, frame.header + frame.stored);
		return r;
	}
	hold(d, in, frame.header + frame.stored);
	r = parse_frame(d->held, d->held_used, &frame, err);
	if (r <= 0)
		return r;
	d->held_used = 0;
	return take_frame(d, &frame, d->held + frame.header, err);
}

int apple_lz4_decode(struct apple_lz4_decoder *d, const void *bytes, size_t len, struct error *err)
{
	struct slice in = { .ptr = bytes, .len = len };

	while (in.len) {
		int r = decode_some(d, &in, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int apple_lz4_decode_end(const struct apple_lz4_decoder *d, struct error *err)
{
	if (!d->ended)
		return error_set(err, E_INVALID, "the LZ4 blocks are cut off");
	return 0;
}

/* ---- the encoder ---- */

struct apple_lz4_encoder {
	void *state; /* liblz4's, begun anew for each block */
	struct str zeroes; /* the frame of a whole block of zeroes */
};

static void write_u32(char *p, size_t value)
{
	uint32_t le = htole32((uint32_t)value);

	memcpy(p, &le, sizeof(le));
}

/* The header of a block of @plain bytes that takes @stored in the stream. */
static void write_header(char *p, enum frame_kind kind, size_t plain, size_t stored)
{
	memcpy(p, frames[kind].magic, MAGIC);
	write_u32(p + MAGIC, plain);
	if (kind == FRAME_LZ4)
		write_u32(p + HEADER_STORED, stored);
}

static void encode_block(struct apple_lz4_encoder *e, const void *bytes, size_t len,
			 struct str *out)
{
	const size_t gain = HEADER_LZ4 - HEADER_STORED + 1; /* less is not worth the decoding */
	char *p;
	int n = 0;

	str_grow(out, HEADER_LZ4 + len);
	p = out->ptr + out->len;
	if (len > gain)
		n = LZ4_compress_fast_extState(e->state, bytes, p + HEADER_LZ4, (int)len,
					       (int)(len - gain), 1);
	if (n > 0) {
		write_header(p, FRAME_LZ4, len, (size_t)n);
		str_set_len(out, out->len + HEADER_LZ4 + (size_t)n);
	} else {
		write_header(p, FRAME_STORED, len, len);
		memcpy(p + HEADER_STORED, bytes, len);
		str_set_len(out, out->len + HEADER_STORED + len);
	}
}

struct apple_lz4_encoder *apple_lz4_encoder_new(void)
{
	static const uint8_t zeroes[APPLE_LZ4_BLOCK];
	struct apple_lz4_encoder *e = xcalloc(1, sizeof(*e));

	e->state = xmalloc((size_t)LZ4_sizeofState());
	e->zeroes = (struct str)STR_INIT;
	encode_block(e, zeroes, sizeof(zeroes), &e->zeroes);
	return e;
}

void apple_lz4_encode(struct apple_lz4_encoder *e, const void *bytes, size_t len, struct str *out)
{
	assert(len > 0 && len <= APPLE_LZ4_BLOCK);
	if (len == APPLE_LZ4_BLOCK && fs_all_zero(bytes, len))
		str_add(out, e->zeroes.ptr, e->zeroes.len);
	else
		encode_block(e, bytes, len, out);
}

void apple_lz4_encode_end(struct str *out)
{
	str_add(out, frames[FRAME_END].magic, MAGIC);
}

struct apple_lz4_encoder *apple_lz4_encoder_free(struct apple_lz4_encoder *e)
{
	if (e) {
		free(e->state);
		str_release(&e->zeroes);
	}
	free(e);
	return NULL;
}
