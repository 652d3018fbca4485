/* SPDX-License-Identifier: Apache-2.0 */

/* What tar_add_entry() writes is what the reader reads; and headers that no tar would write. */

#include "agent/tar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

struct stage {
	struct tar_reader *reader;
	struct str log; /* of what came */
	struct error err;
};

static int on_entry(void *arg, const struct tar_entry *entry, struct error *err unused_)
{
	struct stage *stage = arg;

	str_addf(&stage->log, "%d %s>%s %o %llu %lld.%09ld[", entry->kind, entry->path,
		 entry->target, entry->mode, (unsigned long long)entry->size,
		 (long long)entry->mtime.tv_sec, entry->mtime.tv_nsec);
	return 0;
}

static int on_data(void *arg, const uint8_t *bytes, size_t len, struct error *err unused_)
{
	struct stage *stage = arg;

	str_add(&stage->log, bytes, len);
	return 0;
}

static int on_ended(void *arg, struct error *err unused_)
{
	struct stage *stage = arg;

	str_addc(&stage->log, ']');
	return 0;
}

static const struct tar_events events = { on_entry, on_data, on_ended };

static int setup(void **state)
{
	struct stage *stage = xcalloc(1, sizeof(*stage));

	stage->log = (struct str)STR_INIT;
	stage->reader = tar_reader_new(&events, stage);
	*state = stage;
	return 0;
}

static int teardown(void **state)
{
	struct stage *stage = *state;

	tar_reader_free(stage->reader);
	str_release(&stage->log);
	free(stage);
	return 0;
}

static int feed(struct stage *stage, const struct str *bytes, size_t piece)
{
	int r = 0;

	for (size_t at = 0; r == 0 && at < bytes->len; at += piece) {
		size_t n = bytes->len - at < piece ? bytes->len - at : piece;

		r = tar_reader_feed(stage->reader, (const uint8_t *)bytes->ptr + at, n,
				    &stage->err);
	}
	return r;
}

static void add_file(struct str *out, const char *path, struct timespec mtime, const char *text)
{
	const struct tar_entry entry = { TAR_FILE, path, "", 0640, strlen(text), mtime };

	tar_add_entry(out, &entry);
	str_adds(out, text);
	tar_add_padding(out, strlen(text));
}

static void add_link(struct str *out, enum tar_kind kind, const char *path, const char *target)
{
	const struct tar_entry entry = { kind, path, target, 0777, 0, { 5, 0 } };

	tar_add_entry(out, &entry);
}

static void what_is_written_is_read(void **state)
{
	struct stage *stage = *state;
	auto_str bytes = STR_INIT;

	add_link(&bytes, TAR_FOLDER, ".", "");
	add_file(&bytes, "./a", (struct timespec){ 1700000000, 123456789 }, "content");
	add_file(&bytes, "./old", (struct timespec){ -2, 750000000 }, "");
	add_file(&bytes, "./older", (struct timespec){ -3, 0 }, "");
	add_link(&bytes, TAR_SYMLINK, "./s", "../x");
	add_link(&bytes, TAR_HARD_LINK, "./h", "./a");
	tar_add_end(&bytes);
	for (size_t piece = 1; piece < 2000; piece = piece * 3 + 1) {
		str_reset(&stage->log);
		tar_reader_free(stage->reader);
		stage->reader = tar_reader_new(&events, stage);
		assert_int_equal(feed(stage, &bytes, piece), 0);
		assert_int_equal(tar_reader_finish(stage->reader, &stage->err), 0);
		assert_string_equal(stage->log.ptr, "1 .> 777 0 5.000000000[]"
						    "0 ./a> 640 7 1700000000.123456789[content]"
						    "0 ./old> 640 0 -2.750000000[]"
						    "0 ./older> 640 0 -3.000000000[]"
						    "2 ./s>../x 777 0 5.000000000[]"
						    "3 ./h>./a 777 0 5.000000000[]");
	}
}

static void long_names(void **state)
{
	struct stage *stage = *state;
	auto_str bytes = STR_INIT, expected = STR_INIT;
	char path[301] = { 0 }, target[1001] = { 0 };

	memset(path, 'p', sizeof(path) - 1);
	memset(target, 't', sizeof(target) - 1);
	add_link(&bytes, TAR_SYMLINK, path, target);
	add_file(&bytes, "short", (struct timespec){ 0 }, "");
	tar_add_end(&bytes);
	str_addf(&expected, "2 %s>%s 777 0 5.000000000[]0 short> 640 0 0.000000000[]", path,
		 target);
	assert_int_equal(feed(stage, &bytes, 512), 0);
	assert_string_equal(stage->log.ptr, expected.ptr);
}

static void a_name_of_just_100_bytes(void **state)
{
	struct stage *stage = *state;
	auto_str bytes = STR_INIT, expected = STR_INIT;
	char path[101] = { 0 };

	memset(path, 'p', sizeof(path) - 1);
	add_file(&bytes, path, (struct timespec){ 0 }, "");
	str_addf(&expected, "0 %s> 640 0 0.000000000[]", path);
	assert_int_equal(feed(stage, &bytes, 512), 0);
	assert_string_equal(stage->log.ptr, expected.ptr);
}

static void a_size_beyond_octal_digits(void **state)
{
	struct stage *stage = *state;
	auto_str bytes = STR_INIT;
	const struct tar_entry entry = { TAR_FILE, "big", "", 0600, UINT64_C(1) << 40, { 0, 0 } };

	tar_add_entry(&bytes, &entry);
	assert_int_equal(feed(stage, &bytes, 512), 0);
	assert_string_equal(stage->log.ptr, "0 big> 600 1099511627776 0.000000000[");
	assert_int_equal(tar_reader_finish(stage->reader, &stage->err), -E_INVALID);
}

/* A header whose bytes at @at are @field, of that @type, with the right sum. */
static void header(struct str *out, char type, size_t at, const char *field, size_t len)
{
	char *start;
	unsigned sum = 0;

	add_link(out, TAR_FOLDER, "x", "");
	start = out->ptr + out->len - TAR_BLOCK;
	start[156] = type;
	memcpy(start + at, field, len);
	memset(start + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += (unsigned char)start[i];
	(void)snprintf(start + 148, 8, "%06o", sum);
}

static void bad_headers(void **state)
{
	static const struct {
		size_t at, len;
		const char *field;
	} bad[] = {
		{ 124, 12, "-00000000001" },
		{ 124, 12, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" },
		{ 124, 12, "\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff" },
		{ 100, 8, "rwxrwxrw" },
		{ 136, 12, "99999999999 " },
	};

	for (size_t i = 0; i < array_size(bad); i++) {
		struct stage *stage = *state;
		auto_str bytes = STR_INIT;

		header(&bytes, '5', bad[i].at, bad[i].field, bad[i].len);
		assert_int_equal(feed(stage, &bytes, 512), -E_INVALID);
		(void)teardown(state);
		(void)setup(state);
	}
}

static void a_wrong_sum(void **state)
{
	auto_str bytes = STR_INIT;

	add_file(&bytes, "a", (struct timespec){ 0 }, "");
	bytes.ptr[0] = 'b';
	assert_int_equal(feed(*state, &bytes, 512), -E_INVALID);
}

/* A pax header of @text, and a file. */
static void add_pax(struct str *out, const char *text, size_t len, const char *size)
{
	header(out, 'x', 124, size, 12);
	str_add(out, text, len);
	tar_add_padding(out, len);
	add_file(out, "a", (struct timespec){ 0 }, "");
}

static int feed_pax(void **state, struct slice text)
{
	auto_str bytes = STR_INIT;
	char size[13];
	int r;

	(void)snprintf(size, sizeof(size), "%011zo", text.len);
	add_pax(&bytes, (const char *)text.ptr, text.len, size);
	r = feed(*state, &bytes, 512);
	return r;
}

#define RECORD(text)                                      \
	{                                                 \
		(const uint8_t *)(text), sizeof(text) - 1 \
	}

static void pax_records(void **state)
{
	static const struct slice records = RECORD("12 path=b/c\n11 ctime=1\n16 mtime=9.5000\n");
	struct stage *stage = *state;

	assert_int_equal(feed_pax(state, records), 0);
	assert_string_equal(stage->log.ptr, "0 b/c> 640 0 9.500000000[]");
}

static void bad_pax_records(void **state)
{
	static const struct slice bad[] = {
		RECORD("99 path=b\n"),	  RECORD("0 path=b\n"),
		RECORD("9 path=b\n\n"),	  RECORD("path=b\n"),
		RECORD("12 path=b\0c\n"), RECORD("9 size=x\n"),
		RECORD("12 mtime=1x\n"),  RECORD("22 GNU.sparse.major=1\n"),
	};

	for (size_t i = 0; i < array_size(bad); i++) {
		assert_int_equal(feed_pax(state, bad[i]), -E_INVALID);
		(void)teardown(state);
		(void)setup(state);
	}
}

static void an_extension_without_end(void **state)
{
	auto_str bytes = STR_INIT;

	add_pax(&bytes, "", 0, "77777777777");
	assert_int_equal(feed(*state, &bytes, 512), -E_TOO_BIG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_read),
		TEST(long_names),
		TEST(a_name_of_just_100_bytes),
		TEST(a_size_beyond_octal_digits),
		TEST(bad_headers),
		TEST(a_wrong_sum),
		TEST(pax_records),
		TEST(bad_pax_records),
		TEST(an_extension_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
