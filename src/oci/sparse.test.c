/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "base/str.h"
#include "oci/sparse.h"

enum { PAGE = 4096, PAGES = 300, SIZE = PAGES * PAGE + 77 };

static int open_scratch(void **state)
{
	struct scratch *s = xcalloc(1, sizeof(*s));

	*state = s;
	return scratch_open(s, scratch_place());
}

static int close_scratch(void **state)
{
	int r = scratch_close(*state);

	free(*state);
	return r;
}

static int make(void **state)
{
	const struct scratch *s = *state;
	auto_free char *path = str_format("%s/disk", s->path);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* About half of the pages hold something, some of them in their last byte alone. */
static void fill(uint8_t *bytes, size_t len)
{
	memset(bytes, 0, len);
	for (size_t at = 0; at + PAGE <= len; at += PAGE) {
		uint32_t pick = (uint32_t)(at / PAGE) * 2654435761U >> 16;

		if (pick % 6 == 0)
			bytes[at + PAGE - 1] = 1;
		else if (pick % 6 < 3)
			memset(bytes + at, (int)(pick % 255) + 1, PAGE);
	}
	bytes[len - 1] = 9;
}

static void write_all(struct sparse_writer *w, int fd, uint64_t offset, const uint8_t *bytes,
		      size_t len, size_t piece)
{
	struct error err = ERROR_INIT;
	struct digest digest, expected;

	assert_int_equal(sparse_begin(w, fd, offset, len, &err), 0);
	for (size_t at = 0; at < len; at += piece)
		assert_int_equal(
			sparse_write(w, bytes + at, len - at < piece ? len - at : piece, &err), 0);
	assert_int_equal(sparse_end(w, &digest, &err), 0);
	hash_bytes(bytes, len, &expected);
	assert_true(digest_equal(&digest, &expected));
}

static void assert_content(int fd, uint64_t offset, const uint8_t *bytes, size_t len)
{
	auto_free uint8_t *found = xmalloc(len);
	struct error err = ERROR_INIT;

	assert_int_equal(fs_pread_all(fd, found, len, (off_t)offset, &err), 0);
	assert_memory_equal(found, bytes, len);
}

static bool is_hole(int fd, uint64_t offset, uint64_t len)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

	return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + len;
}

/* Every page of zeroes is a hole, no other is. */
static void assert_holes(int fd, uint64_t offset, const uint8_t *bytes, size_t len)
{
	for (size_t at = 0; at + PAGE <= len; at += PAGE)
		assert_int_equal(is_hole(fd, offset + at, PAGE), fs_all_zero(bytes + at, PAGE));
}

static void test_pages(void **state)
{
	static const size_t pieces[] = { 65536, PAGE, 3 * PAGE + 1, 1000, SIZE };
	auto_free uint8_t *bytes = xmalloc(SIZE);

	fill(bytes, SIZE);
	for (size_t i = 0; i < array_size(pieces); i++) {
		auto_sparse_writer w = SPARSE_WRITER_INIT;
		auto_fd fd = make(state);

		assert_int_equal(ftruncate(fd, 8 * PAGE + SIZE), 0);
		write_all(&w, fd, 8 * PAGE, bytes, SIZE, pieces[i]);
		assert_content(fd, 8 * PAGE, bytes, SIZE);
		assert_true(is_hole(fd, 0, 8 * PAGE));
		if (pieces[i] % PAGE == 0 || pieces[i] == SIZE)
			assert_holes(fd, 8 * PAGE, bytes, SIZE);
	}
}

/* Pages are the file's: a range that begins within one has the same holes. */
static void test_unaligned_range(void **state)
{
	auto_free uint8_t *bytes = xcalloc(SIZE, 1);
	auto_sparse_writer w = SPARSE_WRITER_INIT;
	auto_fd fd = make(state);

	bytes[10 * PAGE - 100] = 1; /* the first byte of the file's page 10 */
	assert_int_equal(ftruncate(fd, 100 + SIZE), 0);
	write_all(&w, fd, 100, bytes, SIZE, 65536);
	assert_content(fd, 100, bytes, SIZE);
	assert_true(is_hole(fd, 0, 10 * PAGE));
	assert_false(is_hole(fd, 10 * PAGE, PAGE));
	assert_true(is_hole(fd, 11 * PAGE, SIZE - 11 * PAGE));
}

/* What an interrupted pull left in the range is gone, what lies beside it stays. */
static void test_old_content(void **state)
{
	auto_free uint8_t *bytes = xmalloc(SIZE), *old = xmalloc(SIZE + 2000);
	auto_sparse_writer w = SPARSE_WRITER_INIT;
	struct error err = ERROR_INIT;
	auto_fd fd = make(state);

	fill(bytes, SIZE);
	memset(old, 0xee, SIZE + 2000);
	assert_int_equal(fs_pwrite_all(fd, old, SIZE + 2000, 0, &err), 0);
	write_all(&w, fd, 1000, bytes, SIZE, 65536);
	assert_content(fd, 1000, bytes, SIZE);
	assert_content(fd, 0, old, 1000);
	assert_content(fd, 1000 + SIZE, old, 1000);
	memset(bytes, 0, SIZE);
	write_all(&w, fd, 1000, bytes, SIZE, 65536); /* the writer begins anew */
	assert_content(fd, 1000, bytes, SIZE);
	assert_true(is_hole(fd, PAGE, SIZE - 2 * PAGE));
}

static void test_file_system_without_holes(void **state)
{
	auto_free uint8_t *bytes = xcalloc(SIZE, 1);
	auto_sparse_writer w = SPARSE_WRITER_INIT;
	struct error err = ERROR_INIT;
	struct digest digest;
	auto_fd fd = make(state);

	assert_int_equal(sparse_begin(&w, fd, 0, SIZE, &err), 0);
	w.dense = true;
	assert_int_equal(sparse_write(&w, bytes, SIZE, &err), 0);
	assert_int_equal(sparse_end(&w, &digest, &err), 0);
	assert_content(fd, 0, bytes, SIZE); /* there although nobody set the file's length */
}

static void test_wrong_lengths(void **state)
{
	auto_sparse_writer w = SPARSE_WRITER_INIT;
	struct error err = ERROR_INIT;
	struct digest digest;
	auto_fd fd = make(state);

	assert_int_equal(sparse_begin(&w, fd, 0, 10, &err), 0);
	assert_int_equal(sparse_write(&w, (const uint8_t *)"12345", 5, &err), 0);
	assert_int_equal(sparse_end(&w, &digest, &err), -E_INVALID);
	assert_non_null(strstr(err.text, "5 bytes fewer"));
	assert_int_equal(sparse_write(&w, (const uint8_t *)"123456", 6, &err), -E_TOO_BIG);
	assert_int_equal(lseek(fd, 0, SEEK_END), 5);
	assert_int_equal(sparse_begin(&w, fd, INT64_MAX, 1, &err), -E_TOO_BIG);
	assert_int_equal(sparse_begin(&w, fd, 1, UINT64_MAX, &err), -E_TOO_BIG);
	assert_int_equal(sparse_begin(&w, fd, 7, 0, &err), 0);
	assert_int_equal(sparse_end(&w, &digest, &err), 0);
}

static void test_full_disk(void **state)
{
	auto_sparse_writer w = SPARSE_WRITER_INIT;
	struct error err = ERROR_INIT;
	auto_fd fd = make(state);
	auto_fd full = open("/dev/full", O_RDWR | O_CLOEXEC);

	assert_int_equal(sparse_begin(&w, fd, 0, 10, &err), 0);
	assert_int_equal(dup3(full, fd, O_CLOEXEC), fd);
	assert_int_equal(sparse_write(&w, (const uint8_t *)"12345", 5, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "No space left on device"));
}

#define scratch_test(fn) cmocka_unit_test_setup_teardown(fn, open_scratch, close_scratch)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_pages),	  scratch_test(test_unaligned_range),
		scratch_test(test_old_content),	  scratch_test(test_file_system_without_holes),
		scratch_test(test_wrong_lengths), scratch_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
