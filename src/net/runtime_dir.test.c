/* SPDX-License-Identifier: Apache-2.0 */
#include "net/runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/scratch.h"

static struct scratch scratch;
static const char *const home = scratch.path;

static int make_home(void **state)
{
	(void)state;
	return scratch_open(&scratch, scratch_place());
}

static int remove_home(void **state)
{
	(void)state;
	return scratch_close(&scratch);
}

static void find(struct str *path, const char *parent)
{
	assert_int_equal(setenv("XDG_RUNTIME_DIR", parent, 1), 0);
	runtime_dir_find(path);
}

static void test_found_beneath_the_runtime_directory(void **state)
{
	auto_free char *wanted = str_format("%s/linzer-net", home);
	auto_str path = STR_INIT;

	(void)state;
	find(&path, home);
	assert_string_equal(path.ptr, wanted);
}

static void test_what_others_can_write_is_passed_over(void **state)
{
	static const char *const bad[] = { "", "relative", "/nonexistent", "/dev/null", "/tmp" };
	auto_str path = STR_INIT;

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		find(&path, bad[i]);
		assert_true(str_starts(path.ptr, "/run/user/") ||
			    str_starts(path.ptr, "/tmp/linzer-net-"));
	}
	assert_int_equal(chmod(home, 0770), 0);
	find(&path, home);
	assert_false(str_starts(path.ptr, home));
	assert_int_equal(chmod(home, 0700), 0);
}

static void test_path_is_short_enough_for_a_socket(void **state)
{
	auto_free char *deep = str_format("%s/%0100d", home, 1);
	auto_str path = STR_INIT;

	(void)state;
	assert_int_equal(mkdir(deep, 0700), 0);
	find(&path, deep);
	assert_false(str_starts(path.ptr, home));
	assert_int_equal(rmdir(deep), 0);
}

static void test_locked_by_one_and_removed_with_its_content(void **state)
{
	auto_str path = STR_INIT;
	struct error err = ERROR_INIT;
	auto_fd lock = -1;
	auto_fd second = -1;

	(void)state;
	find(&path, home);
	lock = runtime_dir_lock(path.ptr, LOCK_WAIT, &err);
	assert_true(lock >= 0);
	second = runtime_dir_lock(path.ptr, LOCK_TRY, &err);
	assert_int_equal(second, -EWOULDBLOCK);
	assert_int_equal(mkdirat(lock, RUNTIME_DIR_NETWORK, 0700), 0);
	assert_int_equal(mknodat(lock, RUNTIME_DIR_SOCKET, S_IFREG | 0600, 0), 0);
	runtime_dir_remove(path.ptr);
	assert_int_equal(access(path.ptr, F_OK), -1);
	/* the old lock is one of a directory that is gone */
	second = runtime_dir_lock(path.ptr, LOCK_TRY, &err);
	assert_true(second >= 0);
	runtime_dir_remove(path.ptr);
}

static void test_directory_that_others_may_enter_is_refused(void **state)
{
	auto_str path = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	find(&path, home);
	assert_int_equal(mkdir(path.ptr, 0700), 0);
	assert_int_equal(chmod(path.ptr, 0710), 0);
	assert_int_equal(runtime_dir_lock(path.ptr, LOCK_WAIT, &err), -EPERM);
	assert_int_equal(rmdir(path.ptr), 0);
	assert_int_equal(symlink(home, path.ptr), 0);
	assert_int_equal(runtime_dir_lock(path.ptr, LOCK_WAIT, &err), -EPERM);
	assert_int_equal(unlink(path.ptr), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_beneath_the_runtime_directory),
		cmocka_unit_test(test_what_others_can_write_is_passed_over),
		cmocka_unit_test(test_path_is_short_enough_for_a_socket),
		cmocka_unit_test(test_locked_by_one_and_removed_with_its_content),
		cmocka_unit_test(test_directory_that_others_may_enter_is_refused),
	};

	return cmocka_run_group_tests(tests, make_home, remove_home);
}
