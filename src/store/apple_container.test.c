/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include "store/apple_container.h"

/* A source that gives at most @step bytes at once, as a pipe may. */
struct source {
	struct slice rest;
	size_t step;
};

static ssize_t give(void *arg, void *bytes, size_t len, struct error *err)
{
	struct source *source = arg;
	size_t n = source->rest.len < len ? source->rest.len : len;

	(void)err;
	if (n > source->step)
		n = source->step;
	if (n)
		memcpy(bytes, source->rest.ptr, n);
	source->rest = (struct slice){ source->rest.ptr + n, source->rest.len - n };
	return (ssize_t)n;
}

static int keep(void *arg, const void *bytes, size_t len, struct error *err)
{
	(void)err;
	str_add(arg, bytes, len);
	return 0;
}

static int read_all(const struct str *in, size_t step, struct str *out, struct error *err)
{
	struct source source = { { (const uint8_t *)in->ptr, in->len }, step };
	auto_container_reader *reader = NULL;
	struct slice bytes;
	int r = container_reader_open(give, &source, &reader, err);

	while (r >= 0) {
		r = container_reader_peek(reader, &bytes, err);
		if (r <= 0)
			break;
		assert_true(bytes.len > 0);
		str_add(out, bytes.ptr, bytes.len);
		container_reader_consume(reader, bytes.len);
	}
	if (r == 0) /* and it stays so */
		assert_int_equal(container_reader_peek(reader, &bytes, err), 0);
	return r;
}

static void write_all(const void *bytes, size_t len, struct str *out)
{
	auto_container_writer *writer = container_writer_new(keep, out);
	struct error err = ERROR_INIT;

	assert_int_equal(container_writer_write(writer, bytes, len, &err), 0);
	assert_int_equal(container_writer_finish(writer, &err), 0);
}

static void add_be64(struct str *out, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		str_addc(out, (char)(value >> (56 - 8 * i)));
}

static void add_block(struct str *out, uint64_t len, uint64_t packed, const char *data)
{
	add_be64(out, len);
	add_be64(out, packed);
	str_adds(out, data);
}

static void begin(struct str *out, const char *magic, uint64_t block)
{
	str_adds(out, magic);
	add_be64(out, block);
}

/* The very bytes of Apple's form, stored. */
static void test_written_form(void **state)
{
	auto_str want = STR_INIT;
	auto_str got = STR_INIT;

	(void)state;
	begin(&want, "pbze", 0x400000);
	add_block(&want, 5, 5, "hello");
	write_all("hello", 5, &got);
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.ptr, want.ptr, want.len);
	str_reset(&got);
	write_all("", 0, &got);
	assert_int_equal(got.len, 12);
}

static void test_round_trips(void **state)
{
	static const size_t sizes[] = { 0,
					1,
					CONTAINER_BLOCK - 1,
					CONTAINER_BLOCK,
					CONTAINER_BLOCK + 1,
					3 * (size_t)CONTAINER_BLOCK };
	auto_free char *bytes = xcalloc(3, CONTAINER_BLOCK);

	(void)state;
	for (size_t i = 0; i < 3 * (size_t)CONTAINER_BLOCK; i++)
		bytes[i] = (char)(i * 7 >> 3);
	for (size_t i = 0; i < array_size(sizes); i++) {
		auto_str written = STR_INIT;
		auto_str read = STR_INIT;
		struct error err = ERROR_INIT;

		write_all(bytes, sizes[i], &written);
		assert_int_equal(read_all(&written, 65536, &read, &err), 0);
		assert_int_equal(read.len, sizes[i]);
		assert_memory_equal(read.ptr, bytes, sizes[i]);
	}
}

/* Stored and packed blocks, with and without an empty one at the end, a byte at a time. */
static void test_read(void **state)
{
	static const char packed[] = "bvxn\x28\0\0\0\x0e\0\0\0" /* 40 bytes of 14 */
				     "\xe1x" /* x */
				     "\x38\x01" /* ten more */
				     "\xf0\x0d" /* 29 more */
				     "\x06\0\0\0\0\0\0\0"
				     "bvx$";

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		auto_str in = STR_INIT;
		auto_str out = STR_INIT;
		struct error err = ERROR_INIT;

		begin(&in, "pbze", 100);
		add_block(&in, 2, 2, "a ");
		add_block(&in, 40, sizeof(packed) - 1, "");
		str_add(&in, packed, sizeof(packed) - 1);
		if (i)
			add_block(&in, 0, 0, "");
		assert_int_equal(read_all(&in, 1, &out, &err), 0);
		assert_string_equal(out.ptr, "a xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	}
}

static void test_bare(void **state)
{
	auto_str in = STR_INIT;
	auto_str out = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	str_adds(&in, "AA01 and so on");
	assert_int_equal(read_all(&in, 3, &out, &err), 0);
	assert_string_equal(out.ptr, in.ptr);
}

static void assert_refused(const struct str *in, int code, const char *text)
{
	auto_str out = STR_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(read_all(in, SIZE_MAX, &out, &err), -code);
	assert_string_equal(err.text, text);
}

static void test_beginnings(void **state)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{ "", "the archive is empty" },
		{ "pb", "not an archive of a VM" },
		{ "PK\3\4 something", "not an archive of a VM" },
		{ "pbz4xxxx", "the archive is compressed with LZ4, which is not supported" },
		{ "pbzzxxxx", "the archive is compressed with zlib, which is not supported" },
		{ "pbzxxxxx", "the archive is compressed with LZMA, which is not supported" },
		{ "pbzbxxxx", "the archive is compressed with LZBITMAP, which is not supported" },
		{ "AEA1xxxx", "the archive is encrypted, which is not supported" },
		{ "pbzexxx", "the archive is truncated" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_str in = STR_INIT;

		str_adds(&in, cases[i].bytes);
		assert_refused(&in, E_INVALID, cases[i].text);
	}
}

static void test_block_sizes(void **state)
{
	static const uint64_t sizes[] = { 0, CONTAINER_BLOCK_MAX + 1, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < array_size(sizes); i++) {
		auto_str in = STR_INIT;
		auto_str out = STR_INIT;
		struct error err = ERROR_INIT;

		begin(&in, "pbze", sizes[i]);
		assert_int_equal(read_all(&in, SIZE_MAX, &out, &err), -E_TOO_BIG);
	}
}

static void test_lying_blocks(void **state)
{
	static const struct {
		const char *magic;
		uint64_t len, packed;
		const char *data, *text;
	} cases[] = {
		{ "pbze", 101, 101, "", "the archive is damaged: a block of 101 bytes in 101" },
		{ "pbze", 5, 6, "", "the archive is damaged: a block of 5 bytes in 6" },
		{ "pbze", 5, 0, "", "the archive is damaged: a block of 5 bytes in 0" },
		{ "pbze", 0, 5, "", "the archive is damaged: a block of 0 bytes in 5" },
		{ "pbz-", 50, 5, "", "the archive is damaged: a block of 50 bytes in 5" },
		{ "pbze", 10, 10, "short", "the archive is truncated" },
		{ "pbze", 10, 8, "short", "the archive is truncated" },
		{ "pbze", 10, 5, "hello", "LZFSE data are damaged: it has no end" },
		{ "pbze", 50, 17, "bvx-0000wholebvx$",
		  "LZFSE data are damaged: more than was announced" },
		{ "pbze", 0, 0, "x", "the archive goes on after its end" },
		{ "pbze", 5, 5, "hello, you", "the archive is truncated" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_str in = STR_INIT;

		begin(&in, cases[i].magic, 100);
		add_block(&in, cases[i].len, cases[i].packed, cases[i].data);
		assert_refused(&in, E_INVALID, cases[i].text);
	}
}

static int refuse(void *arg, const void *bytes, size_t len, struct error *err)
{
	(void)arg;
	(void)bytes;
	(void)len;
	return error_set(err, ENOSPC, "full");
}

static void test_failing_sink(void **state)
{
	auto_container_writer *writer = container_writer_new(refuse, NULL);
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(container_writer_write(writer, "x", 1, &err), 0);
	assert_int_equal(container_writer_finish(writer, &err), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written_form), cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_read),	     cmocka_unit_test(test_bare),
		cmocka_unit_test(test_beginnings),   cmocka_unit_test(test_block_sizes),
		cmocka_unit_test(test_lying_blocks), cmocka_unit_test(test_failing_sink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
