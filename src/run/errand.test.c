/* SPDX-License-Identifier: Apache-2.0 */
#include "run/errand.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "base/str.h"
#include "run/session.h"
#include "store/manage.h"

static unsigned ends;
static bool succeeded;

static void on_end(struct session *session unused_, bool done)
{
	ends++;
	succeeded = done;
}

/* How many descriptors of @pid are what our @fd is. */
static unsigned count_same(pid_t pid, int fd)
{
	auto_free char *path = str_format("/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	struct stat ours, st;
	unsigned count = 0;

	assert_non_null(dir);
	assert_int_equal(fstat(fd, &ours), 0);
	while ((entry = readdir(dir)))
		count += fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
			 st.st_dev == ours.st_dev && st.st_ino == ours.st_ino;
	(void)closedir(dir);
	return count;
}

/* The client of a guest's bytes; its agent takes the call and hangs up. */
static void the_child_has_nothing_of_ours(void **state unused_)
{
	static const char *const argv[] = { "true", NULL };
	auto_free struct session *session = xcalloc(1, sizeof(*session));
	struct errand errand = ERRAND_INIT;
	struct error err = ERROR_INIT;
	struct scratch scratch;
	auto_fd pipe_end = -1;
	auto_fd listener = -1;
	auto_fd client = -1;
	int fds[2];

	assert_int_equal(scratch_open(&scratch, scratch_place()), 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pipe_end = fds[0];
	session->vm.dir = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	listener = vm_socket_listen(&session->vm, "control.sock", &err);
	assert_true(listener >= 0);
	assert_int_equal(uv_loop_init(&session->loop), 0);
	errand.session = session;
	errand.on_end = on_end;
	assert_int_equal(errand_start(&errand, argv, 60000, &err), 0);
	client = accept(listener, NULL, NULL);
	assert_true(client >= 0);
	assert_int_equal(count_same(errand.pid, pipe_end), 0);
	assert_int_equal(count_same(errand.pid, listener), 0);
	assert_int_equal(count_same(errand.pid, errand.input), 1);
	assert_int_equal(count_same(errand.pid, errand.output), 1);
	assert_int_equal(count_same(errand.pid, session->vm.dir), 1);
	(void)close(take_fd(&client));
	(void)uv_run(&session->loop, UV_RUN_DEFAULT);
	assert_int_equal(ends, 1);
	assert_false(succeeded);
	assert_int_equal(errand.pid, 0);
	assert_int_equal(errand.handles, 0);
	errand_release(&errand);
	assert_int_equal(uv_loop_close(&session->loop), 0);
	(void)close(fds[1]);
	(void)close(session->vm.dir);
	assert_int_equal(scratch_close(&scratch), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_child_has_nothing_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
