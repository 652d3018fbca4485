/* SPDX-License-Identifier: Apache-2.0 */

/*
 * lzfse/KIND-LENGTH.lzfse were made once by the reference encoder (the Python package pyliblzfse
 * 0.4.1) of what make_input() makes: the same bytes must come out.
 */

#include "store/fixture.h"

#include "store/fse.h"
#include "store/lzfse.h"
#include "store/lzvn.h"

static uint32_t next_random(uint32_t *x)
{
	*x = (*x * 1103515245U + 12345U) & 0x7fffffffU;
	return *x >> 16;
}

static void add_noise(struct str *out, size_t len)
{
	uint32_t x = 1;

	for (size_t i = 0; i < len; i++)
		str_addc(out, (char)next_random(&x));
}

static void add_text(struct str *out, size_t len)
{
	uint32_t x = 1;

	while (out->len < len) {
		unsigned word = next_random(&x) % 64;

		str_addf(out, "%u-%x ", word, word * word * 7);
	}
	str_set_len(out, len);
}

static void make_input(const char *kind, size_t len, struct str *out)
{
	if (!strcmp(kind, "zeroes")) {
		for (size_t i = 0; i < len; i++)
			str_addc(out, '\0');
	} else if (!strcmp(kind, "text")) {
		add_text(out, len);
	} else if (!strcmp(kind, "noise")) {
		add_noise(out, len);
	} else {
		add_noise(out, len / 2);
		add_noise(out, len / 2);
	}
}

static const struct vector {
	const char *kind;
	size_t len;
	const char *magic; /* of its first block: each kind of coding is there */
} vectors[] = {
	{ "zeroes", 4000, "bvxn" }, { "zeroes", 100000, "bvx2" }, { "text", 2000, "bvxn" },
	{ "text", 30000, "bvx2" },  { "text", 200000, "bvx2" },	  { "noise", 100, "bvx-" },
	{ "far", 12000, "bvx2" },   { "far", 3000, "bvxn" },
};

static void read_vector(const struct vector *v, struct str *in)
{
	auto_free char *path = str_format("lzfse/%s-%zu.lzfse", v->kind, v->len);
	struct error err = ERROR_INIT;

	assert_int_equal(fs_read_file(AT_FDCWD, path, 1 << 20, in, &err), 0);
	assert_memory_equal(in->ptr, v->magic, 4);
}

static struct slice slice_of(const struct str *s)
{
	return (struct slice){ (const uint8_t *)s->ptr, s->len };
}

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(vectors); i++) {
		const struct vector *v = &vectors[i];
		auto_str in = STR_INIT;
		auto_str want = STR_INIT;
		auto_free char *out = xmalloc(v->len);
		struct error err = ERROR_INIT;

		read_vector(v, &in);
		make_input(v->kind, v->len, &want);
		assert_int_equal(lzfse_decode(slice_of(&in), out, v->len, &err), 0);
		assert_memory_equal(out, want.ptr, v->len);
	}
}

/* Cut anywhere, or asked for another length, it is an error, never other bytes. */
static void test_truncated(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(vectors); i++) {
		const struct vector *v = &vectors[i];
		size_t step = v->len > 20000 ? 97 : 1;
		auto_str in = STR_INIT;
		auto_free char *out = xmalloc(v->len + 1);

		read_vector(v, &in);
		for (size_t len = 0; len < in.len; len += step) {
			struct error err = ERROR_INIT;
			auto_free void *exact = xmalloc(len ? len : 1);

			memcpy(exact, in.ptr, len);
			assert_int_equal(lzfse_decode((struct slice){ exact, len }, out, v->len,
						      &err),
					 -E_INVALID);
		}
		for (int more = -1; more <= 1; more += 2) {
			struct error err = ERROR_INIT;

			assert_int_equal(lzfse_decode(slice_of(&in), out,
						      v->len + (size_t)(ssize_t)more, &err),
					 -E_INVALID);
		}
	}
}

static void test_after_the_end(void **state)
{
	auto_str in = STR_INIT;
	char out[100];
	struct error err = ERROR_INIT;

	(void)state;
	read_vector(&vectors[5], &in);
	str_addc(&in, 'x');
	assert_int_equal(lzfse_decode(slice_of(&in), out, sizeof(out), &err), -E_INVALID);
	assert_string_equal(err.text, "LZFSE data are damaged: it goes on after its end");
}

/* A block that would make us decode 40,000 literals for one byte is refused at once. */
static void test_work_for_nothing(void **state)
{
	uint8_t block[32] = { 'b', 'v', 'x', '2', 1, 0, 0, 0, 0x40, 0x9c, 0 };
	char out[1];
	struct error err = ERROR_INIT;

	(void)state;
	block[24] = sizeof(block);
	assert_int_equal(lzfse_decode((struct slice){ block, sizeof(block) }, out, 1, &err),
			 -E_INVALID);
	assert_string_equal(err.text, "LZFSE data are damaged: a block's header");
}

static int decode_lzvn(const char *code, size_t len, struct lz_output *out, struct error *err)
{
	return lzvn_decode((struct slice){ (const uint8_t *)code, len }, out, err);
}

#define END "\x06\0\0\0\0\0\0\0"

/* Each kind of code, by hand. */
static void test_lzvn_codes(void **state)
{
	static const struct {
		const char *code;
		size_t len;
		const char *out;
	} cases[] = {
#define CASE(code_, out_) { code_ END, sizeof(code_ END) - 1, out_ }
		CASE("", ""),
		CASE("\x0e\x16", ""),
		CASE("\xe3"
		     "abc",
		     "abc"),
		CASE("\xe0\x01"
		     "abcdefghijklmnopq",
		     "abcdefghijklmnopq"),
		/* small: L = 2, M = 3, D = 2 */
		CASE("\x80\x02"
		     "ab",
		     "ababa"),
		/* medium: L = 1, M = 3 + (1 << 2 | 2), D = 1 */
		CASE("\xa9\x06\x00"
		     "a",
		     "aaaaaaaaaa"),
		/* large: L = 3, M = 3 + 1, D = 3; then M = 2 and M = 16 at the distance before */
		CASE("\xcf\x03\x00"
		     "abc"
		     "\xf2\xf0\x00",
		     "abcabca"
		     "bc"
		     "abcabcabcabcabca"),
		/* the distance before: L = 1, M = 3 */
		CASE("\x80\x02"
		     "ab"
		     "\x46"
		     "z",
		     "ababazaza"),
#undef CASE
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		uint8_t bytes[64];
		struct lz_output out = { .bytes = bytes, .room = sizeof(bytes) };
		struct error err = ERROR_INIT;

		assert_int_equal(decode_lzvn(cases[i].code, cases[i].len, &out, &err), 0);
		assert_int_equal(out.len, strlen(cases[i].out));
		assert_memory_equal(bytes, cases[i].out, out.len);
	}
}

static void test_lzvn_refused(void **state)
{
	static const struct {
		const char *code;
		size_t len;
	} cases[] = {
#define CASE(code_) { code_, sizeof(code_) - 1 }
		CASE(""),
		CASE("\xe1"
		     "a"), /* no end */
		CASE("\x70" END), /* no such codes */
		CASE("\xdf" END),
		CASE("\x1e" END),
		CASE("\x00\x01" END), /* further back than there is anything */
		CASE("\xf1" END), /* no distance before */
		CASE("\xe1"
		     "a"
		     "\x00\x00" END), /* distance 0 */
		CASE("\xe9"
		     "a"), /* fewer literals than it says */
		CASE("\xe1"
		     "a"
		     "\xf0"), /* codes that are cut off */
		CASE("\xe0"),
		CASE("\x07\x01"),
		CASE("\xa0\x01"),
		CASE("\x00"),
		CASE("\x06\0\0"),
		CASE(END "x"),
		CASE("\xef"
		     "123456789012345" END), /* more than there is room for */
#undef CASE
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		uint8_t bytes[8];
		struct lz_output out = { .bytes = bytes, .room = sizeof(bytes) };
		struct error err = ERROR_INIT;

		assert_int_equal(decode_lzvn(cases[i].code, cases[i].len, &out, &err), -E_INVALID);
		assert_string_equal(err.text, "LZVN data are damaged");
	}
}

/* Whatever the frequencies: from every state, all that its bits can lead to are states. */
static void test_tables_are_closed(void **state)
{
	uint32_t x = 7;

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		struct fse_entry table[64];
		uint16_t f[20] = { 0 };
		unsigned reached[64] = { 0 };

		for (unsigned i = 0; i < 64; i++)
			f[next_random(&x) % (1 + round % 20)]++;
		assert_true(fse_build(f, 20, table, 64));
		for (unsigned i = 0; i < 64; i++) {
			unsigned ends = table[i].next + (1U << table[i].bits);

			assert_true(ends <= 64 && f[table[i].symbol]);
			for (unsigned j = table[i].next; j < ends; j++)
				reached[j]++;
		}
		for (unsigned i = 0; i < 64; i++) /* by each symbol once */
			assert_int_equal(reached[i], reached[0]);
		f[3]++;
		assert_false(fse_build(f, 20, table, 64));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),		  cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_after_the_end),	  cmocka_unit_test(test_work_for_nothing),
		cmocka_unit_test(test_lzvn_codes),	  cmocka_unit_test(test_lzvn_refused),
		cmocka_unit_test(test_tables_are_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
