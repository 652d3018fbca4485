/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include <sys/file.h>

#include "store/stage.h"

static void test_which_home(void **state)
{
	struct fixture *f = *state;
	auto_free char *vetu = str_format("%s/vetu/deep", f->path);
	auto_home home = HOME_INIT;

	assert_int_equal(setenv("VETU_HOME", vetu, 1), 0);
	assert_ok(f, home_open(&home, "tart", &f->err));
	assert_string_equal(home.path, f->path);
	home_release(&home);
	assert_ok(f, home_open(&home, "vetu", &f->err));
	assert_string_equal(home.path, vetu);
	assert_int_equal(access(home.tmp, F_OK), 0);
	assert_int_equal(access(home.cache, F_OK), 0);
	assert_int_equal(access(home.vms, F_OK), -1);
	assert_int_equal(unsetenv("VETU_HOME"), 0);
}

static void test_impossible_home(void **state)
{
	struct fixture *f = *state;
	auto_free char *file = str_format("%s/file", f->path);
	auto_free char *beneath = str_format("%s/file/home", f->path);
	auto_home home = HOME_INIT;
	auto_fd fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(setenv("TART_HOME", beneath, 1), 0);
	assert_fails(f, E_FAILED, "TART_HOME is invalid: ", home_open(&home, "tart", &f->err));
	assert_non_null(strstr(f->err.text, "does not exist, yet we can't create it: "));
}

static void test_names(void **state)
{
	struct fixture *f = *state;
	char long_name[301];

	memset(long_name, 'x', 300);
	long_name[300] = '\0';
	assert_ok(f, home_check_name("debian", &f->err));
	assert_ok(f, home_check_name(".hidden", &f->err));
	assert_ok(f, home_check_name("\xc3\xa4 b", &f->err));
	assert_fails(f, E_FAILED, "empty", home_check_name("", &f->err));
	assert_fails(f, E_FAILED, "local VM", home_check_name(".", &f->err));
	assert_fails(f, E_FAILED, "local VM", home_check_name("..", &f->err));
	assert_fails(f, E_FAILED, "local VM", home_check_name("a/b", &f->err));
	assert_fails(f, E_FAILED, "local VM", home_check_name("../x", &f->err));
	assert_fails(f, E_FAILED, "control", home_check_name("a\nb", &f->err));
	assert_fails(f, E_FAILED, "reserved", home_check_name(".tmp-1", &f->err));
	assert_fails(f, E_FAILED, "this one has 300", home_check_name(long_name, &f->err));
}

static void test_list(void **state)
{
	struct fixture *f = *state;
	auto_strings names = VEC_INIT;
	auto_free char *half = str_format("%s/half", f->home.vms);

	assert_ok(f, home_list_vms(&f->home, &names, &f->err));
	assert_int_equal(names.len, 0);
	fixture_create(f, "b", 1);
	fixture_create(f, "a", 1);
	assert_int_equal(mkdir(half, 0700), 0);
	assert_ok(f, home_list_vms(&f->home, &names, &f->err));
	assert_int_equal(names.len, 2);
	assert_string_equal(names.items[0], "a");
	assert_string_equal(names.items[1], "b");
}

static void test_collect(void **state)
{
	struct fixture *f = *state;
	auto_fd tmp = open(f->home.tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_fd held = -1;
	auto_free char *fifo = str_format("%s/fifo", f->home.tmp);

	assert_int_equal(mkdirat(tmp, "held", 0700), 0);
	assert_int_equal(mkdirat(tmp, "dead", 0700), 0);
	assert_int_equal(mkdirat(tmp, "dead/inner", 0700), 0);
	assert_int_equal(symlinkat("/etc", tmp, "link"), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	fixture_put(tmp, "file", "x");
	held = openat(tmp, "held", O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(held, LOCK_EX), 0);
	assert_ok(f, home_collect_tmp(&f->home, &f->err));
	assert_int_equal(fixture_count(tmp, ""), 1);
	assert_int_equal(fixture_count(tmp, "held"), 1);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static void test_stage(void **state)
{
	struct fixture *f = *state;
	auto_fd tmp = open(f->home.tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	{
		auto_stage stage = STAGE_INIT;

		assert_ok(f, stage_open(&f->home, "x", &stage, &f->err));
		fixture_put(stage.vm.dir, "file", "x");
		assert_ok(f, home_collect_tmp(&f->home, &f->err));
		assert_int_equal(fixture_count(tmp, ""), 1);
	}
	assert_int_equal(fixture_count(tmp, ""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_which_home), fixture_test(test_impossible_home),
		fixture_test(test_names),      fixture_test(test_list),
		fixture_test(test_collect),    fixture_test(test_stage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
