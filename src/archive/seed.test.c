/* SPDX-License-Identifier: Apache-2.0 */
#include "archive/seed.h"

#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/error.h"

enum { SECTOR = 2048, PRIMARY = 16, VOLUME_ID = 40 };

static const struct seed_file files[] = {
	{ "user-data", "#cloud-config\n", 14 },
	{ "meta-data", "{\"instance-id\": \"x\"}", 20 },
	{ "network-config", "", 0 },
};

static int make(size_t count)
{
	struct error err = ERROR_INIT;
	int fd = memfd_create("seed", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(seed_write(fd, files, count, &err), 0);
	return fd;
}

/* ECMA-119 8.4.7: the name, padded with spaces; it has no small letters, and cloud-init knows both.
 */
static void test_label(void **state)
{
	auto_fd fd = make(2);
	char name[33] = "";

	(void)state;
	assert_int_equal(pread(fd, name, 32, PRIMARY * SECTOR + VOLUME_ID), 32);
	assert_memory_equal(name, "CIDATA                          ", 32);
}

static void test_a_whole_number_of_sectors(void **state)
{
	auto_fd fd = make(2);

	(void)state;
	assert_true(lseek(fd, 0, SEEK_END) > 0);
	assert_int_equal(lseek(fd, 0, SEEK_END) % SECTOR, 0);
}

static void check_entry(struct archive *a, const struct seed_file *file)
{
	char content[64];
	la_ssize_t n = archive_read_data(a, content, sizeof(content));

	assert_int_equal(n, file->len);
	assert_memory_equal(content, file->bytes, file->len);
}

/* Read back: each name as it was given, and each content. */
static void test_names_and_contents(void **state)
{
	auto_fd fd = make(3);
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	size_t found = 0;

	(void)state;
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(archive_read_support_format_iso9660(a), ARCHIVE_OK);
	assert_int_equal(archive_read_open_fd(a, fd, SECTOR), ARCHIVE_OK);
	while (archive_read_next_header(a, &entry) == ARCHIVE_OK)
		for (size_t i = 0; i < array_size(files); i++)
			if (strcmp(archive_entry_pathname(entry), files[i].name) == 0) {
				check_entry(a, &files[i]);
				found++;
			}
	assert_int_equal(found, array_size(files));
	assert_int_equal(archive_read_free(a), ARCHIVE_OK);
}

static void test_a_file_that_cannot_be_written(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(seed_write(-1, files, 1, &err), -E_FAILED);
	assert_non_null(strstr(err.text, "cannot make the seed"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_a_whole_number_of_sectors),
		cmocka_unit_test(test_names_and_contents),
		cmocka_unit_test(test_a_file_that_cannot_be_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
