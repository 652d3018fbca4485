/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include "store/new_file.h"
#include "store/sparse_file.h"

enum { PAGE = 4096, PAGES = 40 };

static int make(struct fixture *f)
{
	auto_free char *path = str_format("%s/sparse", f->path);

	return open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

/* In pieces of any size: the same bytes, and pages of zeroes take no room. */
static void test_pieces(void **state)
{
	static const size_t pieces[] = { 1000, PAGE, 3 * PAGE + 7, (size_t)PAGES * PAGE };
	struct fixture *f = *state;
	auto_free uint8_t *bytes = xcalloc(PAGES, PAGE);
	auto_free uint8_t *back = xmalloc((size_t)PAGES * PAGE);

	bytes[2 * PAGE] = 1; /* the first byte of a page, the last of one, two pages in a row */
	bytes[11 * PAGE - 1] = 2;
	bytes[20 * PAGE + 9] = bytes[21 * PAGE + 9] = 3;
	for (size_t i = 0; i < array_size(pieces); i++) {
		auto_fd fd = make(f);
		struct sparse_file file = { .fd = fd };
		size_t len = (size_t)PAGES * PAGE - 5; /* ends within a page */
		struct stat st;

		for (size_t at = 0; at < len; at += pieces[i])
			assert_ok(f, sparse_file_write(&file, bytes + at,
						       len - at < pieces[i] ? len - at : pieces[i],
						       &f->err));
		assert_ok(f, sparse_file_finish(&file, &f->err));
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, len);
		assert_int_equal(fs_allocated(&st), 4 * PAGE);
		assert_ok(f, fs_pread_all(fd, back, len, 0, &f->err));
		assert_memory_equal(back, bytes, len);
	}
}

/* A file system that knows no nameless files. */
static bool no_nameless;
int __real_openat64(int dir, const char *path, int flags, mode_t mode);
int __wrap_openat64(int dir, const char *path, int flags, mode_t mode);

int __wrap_openat64(int dir, const char *path, int flags, mode_t mode)
{
	if (no_nameless && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return __real_openat64(dir, path, flags, mode);
}

/* A link that the kernel does not follow, as fs.protected_symlinks has it do. */
static const char *no_follow;
int __real_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode);

int __wrap_open64(const char *path, int flags, mode_t mode)
{
	if (no_follow && strcmp(path, no_follow) == 0) {
		errno = EACCES;
		return -1;
	}
	return __real_open64(path, flags, mode);
}

static void assert_content(const char *path, const char *want)
{
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(fs_read_file(AT_FDCWD, path, 100, &text, &err), 0);
	assert_string_equal(text.ptr, want);
}

static void put(struct fixture *f, const char *path, const char *text, bool publish)
{
	auto_new_file file = NEW_FILE_INIT;

	assert_ok(f, new_file_open(path, &file, &f->err));
	assert_ok(f, fs_write_all(file.fd, text, strlen(text), &f->err));
	if (publish)
		assert_ok(f, new_file_publish(&file, &f->err));
}

/* It appears when it is published, also in the place of one and behind a link; else not at all. */
static void test_new_file(void **state)
{
	struct fixture *f = *state;
	auto_free char *path = str_format("%s/new", f->path);
	auto_free char *link = str_format("%s/link", f->path);
	auto_fd dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned before = fixture_count(dir, "");
	struct stat st;

	put(f, path, "no", false);
	assert_int_equal(fixture_count(dir, ""), before);
	put(f, path, "one", true);
	assert_content(path, "one");
	assert_int_equal(symlink("new", link), 0);
	put(f, link, "two", true);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_content(path, "two");
	assert_int_equal(fixture_count(dir, ""), before + 2);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
}

static void test_new_file_with_a_name(void **state)
{
	struct fixture *f = *state;
	auto_free char *path = str_format("%s/new", f->path);
	auto_fd dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned before = fixture_count(dir, "");
	auto_new_file file = NEW_FILE_INIT;

	no_nameless = true;
	put(f, path, "no", false);
	assert_int_equal(fixture_count(dir, ""), before);
	put(f, path, "one", true);
	put(f, path, "two", true);
	assert_content(path, "two");
	assert_int_equal(fixture_count(dir, ""), before + 1);
	assert_ok(f, new_file_open(path, &file, &f->err));
	assert_int_equal(fixture_count(dir, ".tmp-"), 1); /* so it was tried */
	no_nameless = false;
}

/* Where the kernel does not follow a link, what it leads to stays as it is: not by a name, either.
 */
static void test_a_link_that_is_not_followed(void **state)
{
	struct fixture *f = *state;
	auto_free char *path = str_format("%s/new", f->path);
	auto_free char *link = str_format("%s/link", f->path);
	auto_new_file file = NEW_FILE_INIT;

	put(f, path, "one", true);
	assert_int_equal(symlink("new", link), 0);
	no_follow = link;
	assert_fails(f, EACCES, "Permission denied", new_file_open(link, &file, &f->err));
	no_follow = NULL;
	assert_content(path, "one");
}

static void test_no_directory(void **state)
{
	struct fixture *f = *state;
	auto_free char *path = str_format("%s/none/new", f->path);
	auto_new_file file = NEW_FILE_INIT;

	assert_fails(f, ENOENT, "No such file", new_file_open(path, &file, &f->err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_pieces),
		fixture_test(test_new_file),
		fixture_test(test_new_file_with_a_name),
		fixture_test(test_a_link_that_is_not_followed),
		fixture_test(test_no_directory),
	};

	(void)umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
