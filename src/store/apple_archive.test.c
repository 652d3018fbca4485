/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include "store/apple_archive.h"
#include "store/apple_container.h"

/* The example of theapplewiki.com/wiki/Apple_Archive: a directory, its path empty. */
static void test_known_header(void **state)
{
	static const uint8_t known[] = {
		0x41, 0x41, 0x30, 0x31, 0x46, 0x00, 0x54, 0x59, 0x50, 0x31, 0x44, 0x50, 0x41, 0x54,
		0x50, 0x00, 0x00, 0x55, 0x49, 0x44, 0x31, 0x00, 0x47, 0x49, 0x44, 0x31, 0x50, 0x4D,
		0x4F, 0x44, 0x32, 0xED, 0x01, 0x46, 0x4C, 0x47, 0x31, 0x00, 0x4D, 0x54, 0x4D, 0x54,
		0xBD, 0xAD, 0x61, 0x66, 0x00, 0x00, 0x00, 0x00, 0x63, 0x76, 0x91, 0x0C, 0x43, 0x54,
		0x4D, 0x54, 0xA6, 0xA4, 0x61, 0x66, 0x00, 0x00, 0x00, 0x00, 0xD4, 0xBA, 0x2E, 0x03,
	};
	struct apple_entry entry;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(apple_entry_parse((struct slice){ known, sizeof(known) }, &entry, &err),
			 0);
	assert_int_equal(entry.type, 'D');
	assert_string_equal(entry.path, "");
	assert_int_equal(entry.before + entry.size + entry.after, 0);
}

static const struct apple_attributes attributes = {
	.uid = 501,
	.gid = 20,
	.mode = 0644,
	.modified = { 0x6661adbd, 0x0c917663 },
	.created = { 1, 2 },
	.changed = { 0x100000000, 3 },
};

/* All bytes of a header of ours, beside what the format says of each. */
static void test_written_header(void **state)
{
	static const char want[] = "AA01\x65\0"
				   "TYP1"
				   "F"
				   "PATP\x08\0disk.img"
				   "UID2\xf5\x01"
				   "GID1\x14"
				   "MOD2\xa4\x01"
				   "FLG1\0"
				   "MTMT\xbd\xad\x61\x66\0\0\0\0\x63\x76\x91\x0c"
				   "BTMT\x01\0\0\0\0\0\0\0\x02\0\0\0"
				   "CTMT\0\0\0\0\x01\0\0\0\x03\0\0\0"
				   "DATA\x34\x12";
	auto_str got = STR_INIT;

	(void)state;
	apple_entry_add_file(&got, "disk.img", &attributes, 0x1234);
	assert_int_equal(got.len, sizeof(want) - 1);
	assert_memory_equal(got.ptr, want, got.len);
}

/* The smallest form of a blob that holds the size. */
static void test_blob_forms(void **state)
{
	static const struct {
		uint64_t size;
		const char *form;
	} cases[] = {
		{ 0, "DATA" },		{ UINT16_MAX, "DATA" },	       { 65536, "DATB" },
		{ UINT32_MAX, "DATB" }, { UINT64_C(1) << 32, "DATC" }, { UINT64_MAX, "DATC" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_str header = STR_INIT;
		struct apple_entry entry;
		struct error err = ERROR_INIT;

		apple_entry_add_file(&header, "x", &attributes, cases[i].size);
		assert_non_null(memmem(header.ptr, header.len, cases[i].form, 4));
		assert_int_equal(apple_entry_parse((struct slice){ (const uint8_t *)header.ptr,
								   header.len },
						   &entry, &err),
				 0);
		assert_true(entry.type == 'F' && entry.size == cases[i].size);
	}
}

/* A header of those fields. */
static void make(struct str *out, const char *fields, size_t len)
{
	str_adds(out, "AA01");
	str_addc(out, (char)(len + APPLE_PREFIX));
	str_addc(out, (char)((len + APPLE_PREFIX) >> 8));
	str_add(out, fields, len);
}

/* Blobs of metadata stand before and after the content. */
static void test_other_blobs(void **state)
{
	static const char fields[] =
		"TYP1FXATA\x03\0DATB\x05\0\0\0ACLA\x02\0YECC\x01\0\0\0\0\0\0\0PATP\x01\0x";
	auto_str header = STR_INIT;
	struct apple_entry entry;
	struct error err = ERROR_INIT;

	(void)state;
	make(&header, fields, sizeof(fields) - 1);
	assert_int_equal(apple_entry_parse((struct slice){ (const uint8_t *)header.ptr,
							   header.len },
					   &entry, &err),
			 0);
	assert_int_equal(entry.before, 3);
	assert_int_equal(entry.size, 5);
	assert_int_equal(entry.after, 3);
	assert_string_equal(entry.path, "x");
}

static void test_refused(void **state)
{
	static const struct {
		const char *fields;
		size_t len;
	} cases[] = {
#define CASE(fields_) { fields_, sizeof(fields_) - 1 }
		CASE(""), /* no type */
		CASE("PATP\x01\0x"),
		CASE("TYP2F\0"), /* of a wrong form */
		CASE("TYP1FPAT1x"),
		CASE("TYP1FDAT1\1"),
		CASE("TYP1FTYP1F"), /* twice */
		CASE("TYP1FPATP\0\0PATP\0\0"),
		CASE("TYP1FDATA\0\0DATA\0\0"),
		CASE("TYP1FXXX?"), /* no such form */
		CASE("TYP1FXX"), /* cut off */
		CASE("TYP1FXXX8123"),
		CASE("TYP1FPATP\x09\0x"),
		CASE("TYP1FPATP\x03\0x\0y"), /* a NUL in a path */
		CASE("TYP1FXATC\xff\xff\xff\xff\xff\xff\xff\xff"
		     "ACLA\1\0"), /* sizes that overflow */
#undef CASE
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_str header = STR_INIT;
		struct apple_entry entry;
		struct error err = ERROR_INIT;

		make(&header, cases[i].fields, cases[i].len);
		assert_int_equal(apple_entry_parse((struct slice){ (const uint8_t *)header.ptr,
								   header.len },
						   &entry, &err),
				 -E_INVALID);
		assert_string_equal(err.text, "the archive is damaged: an entry's header");
	}
}

static void test_long_path(void **state)
{
	(void)state;
	for (size_t len = APPLE_PATH_MAX; len <= APPLE_PATH_MAX + 1; len++) {
		auto_str fields = STR_INIT;
		auto_str header = STR_INIT;
		struct apple_entry entry;
		struct error err = ERROR_INIT;

		str_adds(&fields, "TYP1FPATP");
		str_addc(&fields, (char)len);
		str_addc(&fields, (char)(len >> 8));
		for (size_t i = 0; i < len; i++)
			str_addc(&fields, 'x');
		make(&header, fields.ptr, fields.len);
		assert_int_equal(apple_entry_parse((struct slice){ (const uint8_t *)header.ptr,
								   header.len },
						   &entry, &err),
				 len > APPLE_PATH_MAX ? -E_INVALID : 0);
	}
}

static ssize_t give(void *arg, void *bytes, size_t len, struct error *err)
{
	struct slice *rest = arg;
	size_t n = rest->len < len ? rest->len : len;

	(void)err;
	memcpy(bytes, rest->ptr, n);
	*rest = (struct slice){ rest->ptr + n, rest->len - n };
	return (ssize_t)n;
}

static int gather(void *arg, const void *bytes, size_t len, struct error *err)
{
	(void)err;
	str_add(arg, bytes, len);
	return 0;
}

static void make_archive(struct str *out)
{
	apple_entry_add_directory(out, "", &attributes);
	apple_entry_add_file(out, "a", &attributes, 5);
	str_adds(out, "hello");
	apple_entry_add_file(out, "b", &attributes, 0);
}

/* Read an archive of make_archive()'s; *content: of all its files. */
static int read_archive(const struct str *in, size_t len, struct str *content, struct error *err)
{
	struct slice rest = { (const uint8_t *)in->ptr, len };
	auto_container_reader *reader = NULL;
	struct apple_entry entry;
	int r = container_reader_open(give, &rest, &reader, err);

	while (r >= 0) {
		r = apple_entry_read(reader, &entry, err);
		if (r <= 0)
			return r;
		str_addf(content, "%c%s ", entry.type, entry.path);
		r = apple_content(reader, entry.size, gather, content, err);
	}
	return r;
}

static void test_walk(void **state)
{
	auto_str in = STR_INIT;
	auto_str content = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	make_archive(&in);
	assert_int_equal(read_archive(&in, in.len, &content, &err), 0);
	assert_string_equal(content.ptr, "D Fa helloFb ");
	str_adds(&in, "more bytes");
	assert_int_equal(read_archive(&in, in.len, &content, &err), -E_INVALID);
	assert_string_equal(err.text, "the archive is damaged: no entry where one should be");
}

/* Cut anywhere but between entries it is an error. */
static void test_truncated(void **state)
{
	auto_str in = STR_INIT;
	auto_str root = STR_INIT;
	auto_str file = STR_INIT;
	unsigned whole = 0;

	(void)state;
	make_archive(&in);
	apple_entry_add_directory(&root, "", &attributes);
	apple_entry_add_file(&file, "a", &attributes, 5);
	for (size_t len = 0; len < in.len; len++) {
		auto_str content = STR_INIT;
		struct error err = ERROR_INIT;
		int r = read_archive(&in, len, &content, &err);

		if (len == root.len || len == root.len + file.len + 5) {
			assert_int_equal(r, 0);
			whole++;
		} else {
			assert_int_equal(r, -E_INVALID);
		}
	}
	assert_int_equal(whole, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_header), cmocka_unit_test(test_written_header),
		cmocka_unit_test(test_blob_forms),   cmocka_unit_test(test_other_blobs),
		cmocka_unit_test(test_refused),	     cmocka_unit_test(test_long_path),
		cmocka_unit_test(test_walk),	     cmocka_unit_test(test_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
