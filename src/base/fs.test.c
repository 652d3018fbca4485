/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/scratch.h"
#include "base/str.h"

static struct scratch scratch;
static int dir = -1;

static int enter_directory(void **state)
{
	(void)state;
	if (scratch_open(&scratch, scratch_place()) < 0)
		return -1;
	dir = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int leave_directory(void **state)
{
	(void)state;
	(void)close(dir);
	return scratch_close(&scratch);
}

static int make(const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void assert_content(const char *name, const char *expected)
{
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(fs_read_file(dir, name, 4096, &text, &err), 0);
	assert_string_equal(text.ptr, expected);
}

static size_t count_entries(void)
{
	DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n - 2;
}

static void reading_has_a_limit(void **state)
{
	auto_fd fd = make("file");
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;

	(void)state;
	assert_int_equal(ftruncate(fd, 10000), 0);
	assert_int_equal(fs_read_file(dir, "file", 10000, &text, &err), 0);
	assert_int_equal(text.len, 10000);
	assert_int_equal(fs_read_file(dir, "file", 9999, &text, &err), -E_TOO_BIG);
	assert_int_equal(fs_read_file(dir, "absent", 1, &text, &err), -ENOENT);
}

/* Without a writer, opening a FIFO would wait for ever. */
static void only_regular_files_are_read(void **state)
{
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;

	(void)state;
	assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
	assert_int_equal(fs_read_file(dir, "fifo", 1, &text, &err), -E_INVALID);
	assert_int_equal(fs_read_file(dir, ".", 1, &text, &err), -E_INVALID);
	assert_int_equal(fs_read_file(AT_FDCWD, "/dev/zero", 1, &text, &err), -E_INVALID);
	assert_int_equal(text.len, 0);
}

static void replacing_is_all_or_nothing(void **state)
{
	struct error err = ERROR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(fs_replace_file(dir, "file", "one", 3, 0640, &err), 0);
	assert_content("file", "one");
	assert_int_equal(fstatat(dir, "file", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(fs_replace_file(dir, "file", "", 0, 0600, &err), 0);
	assert_content("file", "");
	assert_int_equal(count_entries(), 1);
	/* it cannot be done: all is as before */
	assert_int_equal(mkdirat(dir, "taken", 0700), 0);
	assert_int_equal(fs_replace_file(dir, "taken", "x", 1, 0600, &err), -EISDIR);
	assert_int_equal(fs_replace_file(dir, "absent/file", "x", 1, 0600, &err), -ENOENT);
	assert_int_equal(count_entries(), 2);
}

static void overwriting_keeps_the_inode(void **state)
{
	auto_fd fd = make("file");
	struct error err = ERROR_INIT;
	struct stat before, after;

	(void)state;
	assert_int_equal(fstat(fd, &before), 0);
	assert_int_equal(fs_overwrite(fd, "a long text", 11, &err), 0);
	assert_int_equal(fs_overwrite(fd, "short", 5, &err), 0);
	assert_content("file", "short");
	assert_int_equal(fstatat(dir, "file", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
}

static void a_short_file_is_invalid(void **state)
{
	auto_fd fd = make("file");
	struct error err = ERROR_INIT;
	char bytes[4] = "";

	(void)state;
	assert_int_equal(fs_pwrite_all(fd, "abc", 3, 0, &err), 0);
	assert_int_equal(fs_pread_all(fd, bytes, 3, 0, &err), 0);
	assert_string_equal(bytes, "abc");
	assert_int_equal(fs_pread_all(fd, bytes, 4, 0, &err), -E_INVALID);
	assert_int_equal(fs_pread_all(fd, bytes, 1, 3, &err), -E_INVALID);
}

static void a_full_disk_is_reported(void **state)
{
	auto_fd full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(fs_write_all(full, "x", 1, &err), -ENOSPC);
}

static void directories_are_made_as_far_as_they_are_missing(void **state)
{
	auto_free char *path = str_format("%s/a/b/c", scratch.path);
	auto_free char *slash = str_format("%s/a//b/d/", scratch.path);
	auto_free char *file = str_format("%s/file", scratch.path);
	auto_free char *below = str_format("%s/file/x", scratch.path);
	struct error err = ERROR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(close(make("file")), 0);
	assert_int_equal(fs_mkdirs(path, &err), 0);
	assert_int_equal(fs_mkdirs(path, &err), 0);
	assert_int_equal(fs_mkdirs(slash, &err), 0);
	assert_int_equal(fstatat(dir, "a/b/d", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700); /* whatever the umask */
	assert_int_equal(fs_mkdirs(file, &err), -ENOTDIR);
	assert_int_equal(fs_mkdirs(below, &err), -ENOTDIR);
	assert_int_equal(fs_mkdirs("/", &err), 0);
}

static void removing_follows_no_link(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(mkdirat(dir, "kept", 0700), 0);
	assert_int_equal(close(make("kept/file")), 0);
	assert_int_equal(mkdirat(dir, "tree", 0700), 0);
	assert_int_equal(mkdirat(dir, "tree/sub", 0700), 0);
	assert_int_equal(close(make("tree/sub/file")), 0);
	assert_int_equal(symlinkat("../kept", dir, "tree/link"), 0);
	assert_int_equal(symlinkat("kept", dir, "link"), 0);
	assert_int_equal(fs_remove_tree(dir, "tree", &err), 0);
	assert_int_equal(fs_remove_tree(dir, "link", &err), 0);
	assert_int_equal(fs_remove_tree(dir, "absent", &err), 0);
	assert_int_equal(count_entries(), 1);
	assert_content("kept/file", "");
}

enum { DEEP = 3000, FEW_FILES = 128 };

/* As a guest does in a folder that is shared: with a path that is longer than any path may be. */
static void make_deep(const char *name)
{
	int at = dup(dir);

	for (unsigned i = 0; i < DEEP; i++) {
		const char *next = i ? "d" : name;
		int below;

		assert_int_equal(mkdirat(at, next, 0700), 0);
		below = openat(at, next, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		assert_int_equal(close(at), 0);
		at = below;
	}
	assert_int_equal(close(at), 0);
}

static void however_deep_a_tree_is_it_goes(void **state)
{
	struct error err = ERROR_INIT;
	struct rlimit before, few;

	(void)state;
	make_deep("deep");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ FEW_FILES, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(fs_remove_tree(dir, "deep", &err), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(count_entries(), 0);
}

/* ---- copies ---- */

enum { COPY_SIZE = 8 << 20 };

/* Data at odd places, zeroes that are written, holes, a tail of an odd length. */
static int make_sparse(const char *name)
{
	int fd = make(name);
	auto_free char *zeroes = xcalloc(1, 1 << 20);
	struct error err = ERROR_INIT;

	assert_int_equal(ftruncate(fd, COPY_SIZE + 77), 0);
	assert_int_equal(fs_pwrite_all(fd, "head", 4, 0, &err), 0);
	assert_int_equal(fs_pwrite_all(fd, "odd", 3, (2 << 20) + 65535, &err), 0);
	assert_int_equal(fs_pwrite_all(fd, zeroes, 1 << 20, 4 << 20, &err), 0);
	assert_int_equal(fs_pwrite_all(fd, "tail", 4, COPY_SIZE + 73, &err), 0);
	return fd;
}

static void assert_same(int a, int b)
{
	auto_free char *x = xmalloc(COPY_SIZE + 77), *y = xmalloc(COPY_SIZE + 77);
	struct error err = ERROR_INIT;
	struct stat st;

	assert_int_equal(fstat(b, &st), 0);
	assert_int_equal(st.st_size, COPY_SIZE + 77);
	assert_int_equal(fs_pread_all(a, x, COPY_SIZE + 77, 0, &err), 0);
	assert_int_equal(fs_pread_all(b, y, COPY_SIZE + 77, 0, &err), 0);
	assert_true(memcmp(x, y, COPY_SIZE + 77) == 0);
}

static void a_sparse_copy_is_equal_and_has_more_holes(void **state)
{
	auto_fd from = make_sparse("from"), to = make("to");
	struct error err = ERROR_INIT;
	struct stat before, after;

	(void)state;
	assert_int_equal(fs_copy_sparse(from, to, &err), 0);
	assert_same(from, to);
	assert_int_equal(fstat(from, &before), 0);
	assert_int_equal(fstat(to, &after), 0);
	assert_true(fs_allocated(&before) >= 1 << 20);
	assert_true(fs_allocated(&after) <= 512 << 10);
}

enum { PAGE = 4096, PAGES = 12 };

static unsigned count_pages(int fd)
{
	unsigned count = 0;

	for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0; at = at / PAGE * PAGE + PAGE)
		count++;
	return count;
}

/* Pages are the file's, wherever the bytes begin and end. */
static void pages_of_zeroes_are_not_written(void **state)
{
	static const off_t offsets[] = { 0, 1, PAGE - 1, 3 * PAGE };
	auto_free char *bytes = xcalloc(PAGES, PAGE), *found = xcalloc(PAGES, PAGE);
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(fs_all_zero(bytes, (size_t)PAGES * PAGE) && fs_all_zero(NULL, 0));
	for (size_t i = 0; i < array_size(offsets); i++) {
		auto_fd fd = make("sparse");
		size_t len = (size_t)PAGES * PAGE - 10;

		memset(bytes, 0, (size_t)PAGES * PAGE);
		bytes[2 * PAGE - offsets[i] % PAGE] = 1; /* the first of a page, the last of one */
		bytes[6 * PAGE - offsets[i] % PAGE - 1] = 1;
		bytes[len - 1] = 1;
		assert_false(fs_all_zero(bytes, len));
		assert_int_equal(fs_pwrite_sparse(fd, bytes, len, offsets[i], &err), 0);
		assert_int_equal(fs_pread_all(fd, found, len, offsets[i], &err), 0);
		assert_memory_equal(found, bytes, len);
		assert_int_equal(count_pages(fd), 3);
		assert_int_equal(ftruncate(fd, 0), 0);
		memset(bytes, 0, len);
		assert_int_equal(fs_pwrite_sparse(fd, bytes, len, offsets[i], &err), 0);
		assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	}
}

static void files_of_holes_only_or_nothing_can_be_copied(void **state)
{
	auto_fd hole = make("hole"), empty = make("empty"), to = make("to"), to2 = make("to2");
	struct error err = ERROR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(ftruncate(hole, (off_t)1 << 40), 0);
	assert_int_equal(fs_copy_sparse(hole, to, &err), 0);
	assert_int_equal(fstat(to, &st), 0);
	assert_true(st.st_size == (off_t)1 << 40);
	assert_int_equal(fs_copy_sparse(empty, to2, &err), 0);
}

static void exclusive_bytes_are_none_where_there_is_another_name(void **state)
{
	auto_fd fd = make("file");
	auto_free char *bytes = xcalloc(1, 1 << 20);
	struct error err = ERROR_INIT;
	uint64_t n = 0;

	(void)state;
	memset(bytes, 'x', 1 << 20);
	assert_int_equal(fs_pwrite_all(fd, bytes, 1 << 20, 1 << 20, &err), 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fs_exclusive_bytes(fd, &n, &err), 0);
	assert_int_equal(n, 1 << 20);
	assert_int_equal(linkat(dir, "file", dir, "again", 0), 0);
	assert_int_equal(fs_exclusive_bytes(fd, &n, &err), 0);
	assert_int_equal(n, 0);
}

/* A btrfs in a file, mounted in a mount namespace that goes with this process's child. */
static void reflinked_files_share_until_written(void)
{
	auto_fd from = make_sparse("from"), to = make("to");
	struct error err = ERROR_INIT;
	uint64_t n = 1;

	assert_int_equal(fsync(from), 0);
	assert_int_equal(fs_reflink(from, to, &err), 1);
	assert_same(from, to);
	assert_int_equal(fsync(to), 0);
	assert_int_equal(fs_exclusive_bytes(to, &n, &err), 0);
	assert_true(n < 64 << 10);
	assert_int_equal(fs_pwrite_all(to, "HEAD", 4, 0, &err), 0);
	char head[5] = "";
	assert_int_equal(fs_pread_all(from, head, 4, 0, &err), 0);
	assert_string_equal(head, "head");
}

static void a_file_system_without_reflink_says_so(void **state)
{
	auto_fd from = make_sparse("from"), to = make("to");
	struct error err = ERROR_INIT;
	struct stat st;
	int r = fs_reflink(from, to, &err);

	(void)state;
	assert_in_range(r, 0, 1);
	if (r == 1) {
		assert_same(from, to);
		return;
	}
	assert_int_equal(fstat(to, &st), 0);
	assert_int_equal(st.st_size, 0);
}

/* This program again, with "on-btrfs" and its directory: see main(). */
static void reflink_on_btrfs(void **state)
{
	auto_free char *script =
		str_format("cd %s && truncate -s 128M image && mkfs.btrfs -q image && mkdir mnt && "
			   "mount -o loop image mnt && /proc/$PPID/exe on-btrfs %s/mnt",
			   scratch.path, scratch.path);
	const char *const argv[] = { "unshare", "-m", "sh", "-ec", script, NULL };
	auto_str errors = STR_INIT;
	struct error err = ERROR_INIT;
	int r;

	(void)state;
	if (geteuid() != 0) {
		print_message("not root, so no loop device: not tested\n");
		skip();
	}
	r = process_run(&(struct process_spec){ .argv = argv }, NULL, NULL, 0, &errors, 60000,
			&err);
	if (r != 0)
		fail_msg("%d %s %s", r, errors.ptr, r < 0 ? err.text : "");
}

static void on_btrfs(void **state)
{
	(void)state;
	reflinked_files_share_until_written();
}

static void random_hex_is_hex_of_its_length(void **state)
{
	char a[33], b[33];

	(void)state;
	fs_random_hex(a, 16);
	fs_random_hex(b, 16);
	assert_int_equal(strlen(a), 32);
	assert_int_equal(strspn(a, "0123456789abcdef"), 32);
	assert_string_not_equal(a, b);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, enter_directory, leave_directory)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		in_directory(reading_has_a_limit),
		in_directory(only_regular_files_are_read),
		in_directory(replacing_is_all_or_nothing),
		in_directory(overwriting_keeps_the_inode),
		in_directory(a_short_file_is_invalid),
		cmocka_unit_test(a_full_disk_is_reported),
		in_directory(directories_are_made_as_far_as_they_are_missing),
		in_directory(removing_follows_no_link),
		in_directory(however_deep_a_tree_is_it_goes),
		in_directory(a_sparse_copy_is_equal_and_has_more_holes),
		in_directory(pages_of_zeroes_are_not_written),
		in_directory(files_of_holes_only_or_nothing_can_be_copied),
		in_directory(exclusive_bytes_are_none_where_there_is_another_name),
		in_directory(a_file_system_without_reflink_says_so),
		in_directory(reflink_on_btrfs),
		cmocka_unit_test(random_hex_is_hex_of_its_length),
	};
	const struct CMUnitTest btrfs_tests[] = { cmocka_unit_test(on_btrfs) };

	if (argc == 3 && strcmp(argv[1], "on-btrfs") == 0) {
		dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		return cmocka_run_group_tests(btrfs_tests, NULL, NULL);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
