/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/process.h"
#include "base/str.h"

enum { LIMIT = 4096, PATIENCE = 30000 };

/* Run sh -c @script; what it printed is in @out. */
static int sh(const char *script, const struct process_spec *how, struct str *out)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	struct process_spec spec = *how;
	struct error err = ERROR_INIT;
	int r;

	spec.argv = argv;
	r = process_run(&spec, NULL, out, LIMIT, NULL, PATIENCE, &err);
	if (r < 0)
		fail_msg("%s: %s", script, err.text);
	return r;
}

static int run(const char *script, const struct str *input, struct str *out, size_t limit,
	       uint64_t timeout)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	struct error err = ERROR_INIT;

	return process_run(&(struct process_spec){ .argv = argv }, input, out, limit, NULL, timeout,
			   &err);
}

static void a_missing_program_is_a_missing_tool(void **state)
{
	const char *const argv[] = { "/nonexistent/program", NULL };
	struct error err = ERROR_INIT;
	pid_t pid = 0;

	(void)state;
	assert_int_equal(process_start(&(struct process_spec){ .argv = argv }, &pid, &err),
			 -E_MISSING_TOOL);
	assert_int_equal(pid, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie is left */
	assert_int_equal(errno, ECHILD);
}

static void a_file_that_is_no_program_is_an_error(void **state)
{
	const char *const argv[] = { "/etc/passwd", NULL };
	struct error err = ERROR_INIT;
	pid_t pid;

	(void)state;
	assert_int_equal(process_start(&(struct process_spec){ .argv = argv }, &pid, &err),
			 -EACCES);
}

static void the_status_is_that_of_the_program(void **state)
{
	(void)state;
	assert_int_equal(run("exit 0", NULL, NULL, 0, 0), 0);
	assert_int_equal(run("exit 77", NULL, NULL, 0, 0), 77);
	assert_int_equal(run("kill -TERM $$", NULL, NULL, 0, 0), 128 + SIGTERM);
}

static void output_and_errors_are_collected_apart(void **state)
{
	const char *const argv[] = { "sh", "-c", "echo out; echo error >&2", NULL };
	auto_str out = STR_INIT, errors = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(process_run(&(struct process_spec){ .argv = argv }, NULL, &out, LIMIT,
				     &errors, PATIENCE, &err),
			 0);
	assert_string_equal(out.ptr, "out\n");
	assert_string_equal(errors.ptr, "error\n");
}

static void a_large_input_passes_through(void **state)
{
	auto_str input = STR_INIT, out = STR_INIT;

	(void)state;
	for (int i = 0; i < 100000; i++)
		str_addf(&input, "line %d\n", i);
	assert_int_equal(run("cat", &input, &out, input.len, PATIENCE), 0);
	assert_int_equal(out.len, input.len);
	assert_memory_equal(out.ptr, input.ptr, input.len);
}

static void a_program_that_does_not_read_kills_nobody(void **state)
{
	auto_str input = STR_INIT;
	sigset_t pending;

	(void)state;
	for (int i = 0; i < 100000; i++)
		str_adds(&input, "0123456789");
	assert_int_equal(run("exec <&-; exit 3", &input, NULL, 0, PATIENCE), 3);
	assert_int_equal(sigpending(&pending), 0);
	assert_false(sigismember(&pending, SIGPIPE));
}

static void output_up_to_the_limit_is_kept_and_more_is_refused(void **state)
{
	auto_str exact = STR_INIT, more = STR_INIT;

	(void)state;
	assert_int_equal(run("printf %010d 0", NULL, &exact, 10, PATIENCE), 0);
	assert_string_equal(exact.ptr, "0000000000");
	assert_int_equal(run("printf %011d 0", NULL, &more, 10, PATIENCE), -E_TOO_BIG);
	assert_int_equal(run("yes", NULL, &more, 10, PATIENCE), -E_TOO_BIG);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* it was ended and waited for */
}

static void errors_are_kept_up_to_4_kib(void **state)
{
	const char *const argv[] = { "sh", "-c", "printf %09000d 0 >&2", NULL };
	auto_str errors = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(process_run(&(struct process_spec){ .argv = argv }, NULL, NULL, 0, &errors,
				     PATIENCE, &err),
			 0);
	assert_int_equal(errors.len, 4096);
}

static void a_program_that_takes_too_long_is_ended(void **state)
{
	(void)state;
	assert_int_equal(run("exec sleep 1000", NULL, NULL, 0, 100), -ETIMEDOUT);
	/* also where it closed its output long before, or feeds us all the time */
	assert_int_equal(run("exec sleep 1000 >&- 2>&-", NULL, NULL, 0, 100), -ETIMEDOUT);
	assert_int_equal(run("exec yes", NULL, NULL, 0, 100), -ETIMEDOUT);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_program_that_closes_its_output_still_gets_its_input(void **state)
{
	auto_str input = STR_INIT;

	(void)state;
	for (int i = 0; i < 100000; i++)
		str_adds(&input, "0123456789\n");
	assert_int_equal(run("exec >&- 2>&-; test $(wc -l) = 100000", &input, NULL, 0, PATIENCE),
			 0);
}

/* A file holding @text; the descriptor is above 20 and close-on-exec. */
static int holding(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	int high = fcntl(fd, F_DUPFD_CLOEXEC, 20);

	assert_int_equal(write(high, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
	return high;
}

/* Put descriptors 3, 4 and 5 of ours into the child as @three, @four and @five. */
static void assert_mapping(int three, int four, int five)
{
	const struct process_fd fds[] = { { 3, three }, { 4, four }, { 5, five } };
	const int theirs[] = { three, four, five };
	auto_str out = STR_INIT;
	char text[64] = "";

	for (int target = 3; target <= 6; target++)
		for (int i = 0; i < 3; i++)
			if (theirs[i] == target)
				(void)strncat(text, (const char *[]){ "a", "b", "c" }[i], 2);
	(void)sh("for n in 3 4 5 6; do test -e /proc/self/fd/$n && cat /proc/$$/fd/$n; done; true",
		 &(struct process_spec){ .fds = fds, .fd_count = 3 }, &out);
	assert_string_equal(out.ptr, text);
}

static void descriptors_land_where_they_shall_in_any_order(void **state)
{
	auto_fd a = holding("a"), b = holding("b"), c = holding("c");

	(void)state;
	assert_int_equal(dup3(a, 3, O_CLOEXEC), 3);
	assert_int_equal(dup3(b, 4, O_CLOEXEC), 4);
	assert_int_equal(dup3(c, 5, O_CLOEXEC), 5);
	assert_mapping(3, 4, 5);
	assert_mapping(4, 3, 5); /* swapped */
	assert_mapping(4, 5, 3); /* rotated */
	assert_mapping(5, 3, 4);
	assert_mapping(5, 4, 3);
	assert_mapping(6, 5, 4); /* overlapping */
	for (int fd = 3; fd <= 5; fd++)
		assert_int_equal(close(fd), 0);
}

static void nothing_else_is_open_in_the_child(void **state)
{
	auto_fd secret = holding("secret");
	auto_fd open_one = dup2(secret, 33); /* not close-on-exec */
	auto_str out = STR_INIT;
	const struct process_fd fds[] = { { secret, 7 } };

	(void)state;
	assert_int_equal(open_one, 33);
	(void)sh("for n in $(seq 0 60); do test -e /proc/$$/fd/$n && printf '%s ' $n; done; true",
		 &(struct process_spec){ .fds = fds, .fd_count = 1 }, &out);
	/* 10 is where dash keeps a copy while it redirects, if at all */
	assert_string_equal(out.ptr, "0 1 2 7 ");
}

static void standard_descriptors_that_are_not_given_are_null(void **state)
{
	const char *const argv[] = { "sh", "-c",
				     "test $(readlink /proc/$$/fd/0) = /dev/null && "
				     "test $(readlink /proc/$$/fd/1) = /dev/null && "
				     "test $(readlink /proc/$$/fd/2) = /dev/null",
				     NULL };
	struct error err = ERROR_INIT;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(process_start(&(struct process_spec){ .argv = argv }, &pid, &err), 0);
	assert_int_equal(process_wait(pid, &status, &err), 0);
	assert_int_equal(status, 0);
}

static void the_environment_is_what_is_given(void **state)
{
	const char *const env[] = { "ONLY=this", NULL };
	auto_str out = STR_INIT;

	(void)state;
	assert_int_equal(setenv("LINZER_TEST", "leaks", 1), 0);
	(void)sh("/usr/bin/env", &(struct process_spec){ .env = env }, &out);
	assert_non_null(strstr(out.ptr, "ONLY=this"));
	assert_null(strstr(out.ptr, "LINZER_TEST"));
	str_reset(&out);
	(void)sh("echo $LINZER_TEST", &(struct process_spec){ .env = NULL }, &out);
	assert_string_equal(out.ptr, "leaks\n");
	assert_int_equal(unsetenv("LINZER_TEST"), 0);
}

static void signals_are_as_a_program_expects_them(void **state)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction old;
	sigset_t blocked, before;
	const char *ignored;
	auto_str out = STR_INIT;

	(void)state;
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGTERM);
	assert_int_equal(sigaction(SIGPIPE, &ignore, &old), 0);
	assert_int_equal(sigprocmask(SIG_BLOCK, &blocked, &before), 0);
	(void)sh("grep -E 'Sig(Blk|Ign)' /proc/self/status", &(struct process_spec){ 0 }, &out);
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, &blocked), 0);
	assert_true(sigismember(&blocked, SIGTERM)); /* our own mask is as it was */
	assert_int_equal(sigaction(SIGPIPE, &old, NULL), 0);
	ignored = strstr(out.ptr, "SigIgn:");
	assert_true(str_starts(out.ptr, "SigBlk:\t0000000000000000\n"));
	assert_non_null(ignored);
	/* 32 and 33 are glibc's own: no program can set them, and some parents leave them ignored
	 */
	assert_int_equal(strtoul(ignored + strlen("SigIgn:"), NULL, 16) & ~(3UL << 31), 0);
}

static int fail_in_child(void *arg)
{
	(void)arg;
	errno = EXDEV;
	return -1;
}

static void what_fails_in_the_child_is_reported(void **state)
{
	const char *const argv[] = { "true", NULL };
	struct error err = ERROR_INIT;
	pid_t pid;

	(void)state;
	assert_int_equal(process_start(&(struct process_spec){ .argv = argv,
							       .in_child = fail_in_child },
				       &pid, &err),
			 -EXDEV);
	assert_int_equal(
		process_start(&(struct process_spec){ .argv = argv,
						      .fds = (struct process_fd[]){ { 999, 3 } },
						      .fd_count = 1 },
			      &pid, &err),
		-EBADF);
}

static void privileges_are_dropped_for_good(void **state)
{
	auto_str out = STR_INIT;
	const gid_t groups[] = { 65533 };

	(void)state;
	if (geteuid() != 0) {
		print_message("not root: not tested\n");
		skip();
	}
	(void)sh("id -u; id -G; grep -E 'CapEff|NoNewPrivs' /proc/self/status",
		 &(struct process_spec){ .drop = true,
					 .uid = 65532,
					 .gid = 65531,
					 .groups = groups,
					 .group_count = 1,
					 .no_new_privs = true },
		 &out);
	assert_string_equal(out.ptr, "65532\n65531 65533\n"
				     "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n");
}

/* A child that starts a program and is killed: does the program die, too? */
static bool survives_its_parent(bool outlive, bool drop)
{
	const char *const argv[] = { "sleep", "1000", NULL };
	int ends[2];
	pid_t parent, pid = 0;
	bool alive;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	parent = fork();
	if (parent == 0) {
		struct error err = ERROR_INIT;

		if (process_start(&(struct process_spec){ .argv = argv,
							  .outlive = outlive,
							  .drop = drop,
							  .uid = 65532,
							  .gid = 65532 },
				  &pid, &err) < 0)
			pid = 0;
		(void)!write(ends[1], &pid, sizeof(pid));
		(void)pause();
		_exit(0);
	}
	assert_int_equal(read(ends[0], &pid, sizeof(pid)), sizeof(pid));
	assert_true(pid > 0);
	assert_int_equal(kill(parent, SIGKILL), 0);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	/* we are the subreaper: the orphan is ours to wait for */
	for (int i = 0; i < 200 && !outlive; i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			break;
		clock_sleep_ms(10);
	}
	alive = kill(pid, 0) == 0;
	if (alive) {
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	assert_int_equal(close(ends[0]), 0);
	assert_int_equal(close(ends[1]), 0);
	return alive;
}

static void a_program_dies_with_its_parent_unless_told(void **state)
{
	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_false(survives_its_parent(false, false));
	assert_true(survives_its_parent(true, false));
	if (geteuid() == 0) /* a change of uid clears the death signal, if set too early */
		assert_false(survives_its_parent(false, true));
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_missing_program_is_a_missing_tool),
		cmocka_unit_test(a_file_that_is_no_program_is_an_error),
		cmocka_unit_test(the_status_is_that_of_the_program),
		cmocka_unit_test(output_and_errors_are_collected_apart),
		cmocka_unit_test(a_large_input_passes_through),
		cmocka_unit_test(a_program_that_does_not_read_kills_nobody),
		cmocka_unit_test(output_up_to_the_limit_is_kept_and_more_is_refused),
		cmocka_unit_test(errors_are_kept_up_to_4_kib),
		cmocka_unit_test(a_program_that_takes_too_long_is_ended),
		cmocka_unit_test(a_program_that_closes_its_output_still_gets_its_input),
		cmocka_unit_test(descriptors_land_where_they_shall_in_any_order),
		cmocka_unit_test(nothing_else_is_open_in_the_child),
		cmocka_unit_test(standard_descriptors_that_are_not_given_are_null),
		cmocka_unit_test(the_environment_is_what_is_given),
		cmocka_unit_test(signals_are_as_a_program_expects_them),
		cmocka_unit_test(what_fails_in_the_child_is_reported),
		cmocka_unit_test(privileges_are_dropped_for_good),
		cmocka_unit_test(a_program_dies_with_its_parent_unless_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
