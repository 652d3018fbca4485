/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <lz4.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/apple_lz4.h"

enum { MIB = 1024 * 1024, LINKED = 3 * MIB + 12345 };
#define NO_LIMIT UINT64_MAX

/* ---- streams ---- */

static void add_u32(struct str *out, size_t value)
{
	uint32_t le = htole32((uint32_t)value);

	str_add(out, &le, sizeof(le));
}

static void add_lz4(struct str *out, size_t plain, const void *bytes, size_t len)
{
	str_adds(out, "bv41");
	add_u32(out, plain);
	add_u32(out, len);
	str_add(out, bytes, len);
}

static void add_stored(struct str *out, const void *bytes, size_t len)
{
	str_adds(out, "bv4-");
	add_u32(out, len);
	str_add(out, bytes, len);
}

/* Text-like: words of a small vocabulary, so that matches lie near and far. */
static void fill_text(uint8_t *bytes, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len;) {
		uint32_t word;

		seed = seed * 1664525 + 1013904223;
		word = seed >> 20;
		for (unsigned k = 0; k < 3 + word % 7 && i < len; k++)
			bytes[i++] = (uint8_t)('a' + (word * (k + 7)) % 26);
	}
}

static void fill_noise(uint8_t *bytes, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

/* Blocks that refer to the ones before them, and stored ones between, as Apple's encoder makes. */
static void make_linked(const uint8_t *plain, size_t len, size_t block, struct str *out)
{
	auto_free char *packed = xmalloc((size_t)LZ4_compressBound((int)block));
	LZ4_stream_t *stream = LZ4_createStream();
	unsigned count = 0;

	for (size_t at = 0; at < len; at += block) {
		size_t n = len - at < block ? len - at : block;
		int r = LZ4_compress_fast_continue(stream, (const char *)plain + at, packed, (int)n,
						   LZ4_compressBound((int)block), 1);

		assert_true(r > 0);
		if (++count % 8 == 0) /* its bytes are history for the next all the same */
			add_stored(out, plain + at, n);
		else
			add_lz4(out, n, packed, (size_t)r);
	}
	(void)LZ4_freeStream(stream);
	apple_lz4_encode_end(out);
}

static void encode_all(const uint8_t *plain, size_t len, struct str *out)
{
	struct apple_lz4_encoder *e = apple_lz4_encoder_new();

	for (size_t at = 0; at < len; at += APPLE_LZ4_BLOCK)
		apple_lz4_encode(e, plain + at,
				 len - at < APPLE_LZ4_BLOCK ? len - at : APPLE_LZ4_BLOCK, out);
	apple_lz4_encode_end(out);
	assert_null(apple_lz4_encoder_free(e));
}

static int append(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	(void)err;
	assert_true(len > 0);
	str_add(arg, bytes, len);
	return 0;
}

/* In pieces of @piece bytes, each in a block of just its size so that an overrun is seen. */
static int decode_in(const struct str *in, size_t piece, uint64_t limit, struct str *out,
		     struct error *err)
{
	struct apple_lz4_decoder *d = apple_lz4_decoder_new(limit, append, out);
	int r = 0;

	for (size_t at = 0; r == 0 && at < in->len; at += piece) {
		size_t n = in->len - at < piece ? in->len - at : piece;
		auto_free char *exact = xmalloc(n);

		memcpy(exact, in->ptr + at, n);
		r = apple_lz4_decode(d, exact, n, err);
	}
	if (r == 0)
		r = apple_lz4_decode_end(d, err);
	assert_int_equal(apple_lz4_decoded(d), out->len);
	assert_null(apple_lz4_decoder_free(d));
	return r;
}

static void assert_decodes(const struct str *in, const uint8_t *plain, size_t len)
{
	static const size_t pieces[] = { 1, 7, 65536, MIB, SIZE_MAX / 2 };

	for (size_t i = 0; i < array_size(pieces); i++) {
		auto_str out = STR_INIT;
		struct error err = ERROR_INIT;

		if (decode_in(in, pieces[i], len, &out, &err) < 0)
			fail_msg("pieces of %zu: %s", pieces[i], err.text);
		assert_int_equal(out.len, len);
		assert_memory_equal(out.ptr, plain, len);
	}
}

/* ---- what is right ---- */

static void test_linked_blocks(void **state)
{
	static const size_t blocks[] = { APPLE_LZ4_BLOCK, 1000, 300000, APPLE_LZ4_BLOCK_MAX };
	auto_free uint8_t *plain = xmalloc(LINKED);

	(void)state;
	fill_text(plain, LINKED, 1);
	fill_noise(plain + MIB, MIB / 2, 2);
	/* what repeats after 60,000 bytes only ever matches in the block before */
	for (size_t i = 2 * MIB; i < LINKED; i++)
		plain[i] = plain[i - 60000];
	for (size_t i = 0; i < array_size(blocks); i++) {
		auto_str in = STR_INIT;

		make_linked(plain, LINKED, blocks[i], &in);
		assert_decodes(&in, plain, LINKED);
	}
}

/* The farthest that a block can refer, and through a stored one: by hand. */
static void test_farthest_match(void **state)
{
	/* 1 literal, a match of 4 + 15 + 5 from 65535 back, 5 literals: 30 bytes */
	static const uint8_t packed[] = { 0x1f, '!', 0xff, 0xff, 5, 0x50, 'a', 'b', 'c', 'd', 'e' };
	auto_free uint8_t *plain = xmalloc(APPLE_LZ4_BLOCK + 30);
	auto_str in = STR_INIT;

	(void)state;
	fill_noise(plain, APPLE_LZ4_BLOCK, 3);
	plain[APPLE_LZ4_BLOCK] = '!';
	memcpy(plain + APPLE_LZ4_BLOCK + 1, plain + 2, 24);
	memcpy(plain + APPLE_LZ4_BLOCK + 25, "abcde", 5);
	add_stored(&in, plain, 1);
	add_lz4(&in, 0, "", 1); /* empty blocks stand between without harm */
	add_stored(&in, plain + 1, APPLE_LZ4_BLOCK - 1);
	add_lz4(&in, 0, NULL, 0);
	add_stored(&in, NULL, 0);
	add_lz4(&in, 30, packed, sizeof(packed));
	apple_lz4_encode_end(&in);
	assert_decodes(&in, plain, APPLE_LZ4_BLOCK + 30);
}

static void test_round_trip(void **state)
{
	static const size_t sizes[] = {
		0, 1, 4, 5, 6, 13, 4096, 65535, 65536, 65537, 5 * 65536 + 99
	};
	auto_free uint8_t *plain = xmalloc(6 * APPLE_LZ4_BLOCK);

	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		memset(plain, 0, 6 * APPLE_LZ4_BLOCK);
		if (kind == 1)
			fill_noise(plain, 6 * APPLE_LZ4_BLOCK, 4);
		if (kind == 2)
			fill_text(plain, 6 * APPLE_LZ4_BLOCK, 5);
		for (size_t i = 0; i < array_size(sizes); i++) {
			auto_str in = STR_INIT;

			encode_all(plain, sizes[i], &in);
			assert_decodes(&in, plain, sizes[i]);
		}
	}
}

/* Blocks stand for themselves: one alone gives the bytes that it gives after others. */
static void test_encoder_is_deterministic(void **state)
{
	auto_free uint8_t *plain = xmalloc(4 * APPLE_LZ4_BLOCK);
	auto_str all = STR_INIT, parts = STR_INIT;

	(void)state;
	fill_text(plain, 4 * APPLE_LZ4_BLOCK, 6);
	memset(plain + APPLE_LZ4_BLOCK, 0, APPLE_LZ4_BLOCK);
	encode_all(plain, 4 * APPLE_LZ4_BLOCK, &all);
	for (size_t i = 0; i < 4; i++) {
		encode_all(plain + i * APPLE_LZ4_BLOCK, APPLE_LZ4_BLOCK, &parts);
		if (i < 3)
			str_chop(&parts, 4);
	}
	assert_int_equal(all.len, parts.len);
	assert_memory_equal(all.ptr, parts.ptr, all.len);
}

static void test_encoder_sizes(void **state)
{
	auto_free uint8_t *plain = xcalloc(APPLE_LZ4_BLOCK, 1);
	auto_str noise = STR_INIT, zeroes = STR_INIT, almost = STR_INIT;

	(void)state;
	encode_all(plain, APPLE_LZ4_BLOCK, &zeroes);
	assert_true(zeroes.len < 300);
	plain[APPLE_LZ4_BLOCK - 1] = 1; /* not taken for zeroes */
	encode_all(plain, APPLE_LZ4_BLOCK, &almost);
	assert_decodes(&almost, plain, APPLE_LZ4_BLOCK);
	fill_noise(plain, APPLE_LZ4_BLOCK, 7);
	encode_all(plain, APPLE_LZ4_BLOCK, &noise);
	assert_int_equal(noise.len, 8 + APPLE_LZ4_BLOCK + 4);
	assert_memory_equal(noise.ptr, "bv4-", 4);
}

/* ---- what is wrong ---- */

static void assert_refused(const struct str *in, int code, const char *text)
{
	static const size_t pieces[] = { 1, 7, MIB };

	for (size_t i = 0; i < array_size(pieces); i++) {
		auto_str out = STR_INIT;
		struct error err = ERROR_INIT;
		int r = decode_in(in, pieces[i], 200000, &out, &err);

		if (r != -code || !strstr(err.text, text))
			fail_msg("pieces of %zu: %d %s, not %s", pieces[i], r, err.text, text);
	}
}

static void test_damaged_streams(void **state)
{
	static const uint8_t five[] = { 0x50, 'a', 'b', 'c', 'd', 'e' };
	static const uint8_t before[] = { 0x11, '!', 9, 0, 0x50, 'a', 'b', 'c', 'd', 'e' };
	static const struct {
		const char *magic;
		size_t plain;
		const void *bytes;
		size_t len;
		const char *message;
	} bad[] = {
		{ "bv42", 5, five, 6, "begins with 62 76 34 32" },
		{ "bv41", 4, five, 6, "damaged" }, /* decodes to more */
		{ "bv41", 6, five, 6, "damaged" }, /* ... to fewer */
		{ "bv41", 5, five, 5, "damaged" }, /* cut */
		{ "bv41", 0, five, 6, "damaged" }, /* something in an empty block */
		{ "bv41", 5, NULL, 0, "cannot hold 5" },
		{ "bv41", 12, before, sizeof(before), "damaged" }, /* a match before the start */
		{ "bv41", 256, "", 1, "cannot hold 256" }, /* no LZ4 byte gives that much */
		{ "bv41", APPLE_LZ4_BLOCK_MAX + 1, five, 6, "4194305 when decoded" },
		{ "bv41", UINT32_MAX, five, 6, "4294967295 when decoded" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_str in = STR_INIT;

		add_lz4(&in, bad[i].plain, bad[i].bytes, bad[i].len);
		memcpy(in.ptr, bad[i].magic, 4);
		apple_lz4_encode_end(&in);
		assert_refused(&in, E_INVALID, bad[i].message);
	}
}

static void test_oversized_blocks(void **state)
{
	static const char *const magics[] = { "bv41", "bv4-" };

	(void)state;
	for (size_t i = 0; i < array_size(magics); i++) {
		auto_str in = STR_INIT;

		str_adds(&in, magics[i]);
		add_u32(&in, i ? UINT32_MAX : 1);
		add_u32(&in, UINT32_MAX);
		assert_refused(&in, E_INVALID, "an LZ4 block of 4294967295 bytes");
	}
}

static void test_cut_streams(void **state)
{
	auto_free uint8_t *plain = xmalloc(100000);
	auto_str in = STR_INIT;

	(void)state;
	fill_text(plain, 100000, 8);
	encode_all(plain, 100000, &in);
	while (in.len) {
		str_chop(&in, in.len < 2000 ? 1 : in.len % 1000 + 1);
		assert_refused(&in, E_INVALID, "cut off");
	}
}

static void test_bytes_after_the_end(void **state)
{
	auto_str in = STR_INIT;

	(void)state;
	add_stored(&in, "abc", 3);
	apple_lz4_encode_end(&in);
	apple_lz4_encode_end(&in);
	assert_refused(&in, E_INVALID, "follow the end");
	str_chop(&in, 3);
	assert_refused(&in, E_INVALID, "follow the end");
}

static void test_limit(void **state)
{
	auto_free uint8_t *plain = xcalloc(200001, 1);
	auto_str in = STR_INIT;

	(void)state;
	encode_all(plain, 200001, &in);
	assert_refused(&in, E_TOO_BIG, "more than the 200000 bytes");
	str_reset(&in);
	encode_all(plain, 200000, &in);
	assert_decodes(&in, plain, 200000);
}

static int refuse(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	(void)arg;
	(void)bytes;
	(void)len;
	return error_set(err, E_FAILED, "no more");
}

static void test_write_fails(void **state)
{
	struct apple_lz4_decoder *d = apple_lz4_decoder_new(NO_LIMIT, refuse, NULL);
	struct error err = ERROR_INIT;
	auto_str in = STR_INIT;

	(void)state;
	add_stored(&in, "abc", 3);
	assert_int_equal(apple_lz4_decode(d, in.ptr, in.len, &err), -E_FAILED);
	assert_string_equal(err.text, "no more");
	assert_int_equal(apple_lz4_decoded(d), 0);
	(void)apple_lz4_decoder_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linked_blocks),
		cmocka_unit_test(test_farthest_match),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_encoder_is_deterministic),
		cmocka_unit_test(test_encoder_sizes),
		cmocka_unit_test(test_damaged_streams),
		cmocka_unit_test(test_oversized_blocks),
		cmocka_unit_test(test_cut_streams),
		cmocka_unit_test(test_bytes_after_the_end),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_write_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
