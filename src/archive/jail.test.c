/* SPDX-License-Identifier: Apache-2.0 */

/* Each attempt is made by a child that has entered the jail of a directory of an ordinary user's.
 */

#include "archive/jail.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/scratch.h"

/* A sanitizer's shadow of the address space is itself larger than any limit on it. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SPACE UINT64_MAX
#endif
#endif
#ifndef ADDRESS_SPACE
#define ADDRESS_SPACE (UINT64_C(1) << 30)
#endif

enum { SOMEBODY = 61950, FORBIDDEN = 10, REFUSED = 99 };

static int dir = -1; /* his */
static int shared = -1; /* a file that he got open */

static int enter(struct error *err)
{
	const struct jail_limits limits = { 1 << 20, ADDRESS_SPACE, 10 };

	return jail_enter(dir, &limits, err);
}

static int shut(struct error *err)
{
	return fchdir(dir) < 0 ? -1 : jail_shut_files(1 << 20, err);
}

static int after(int (*lock_in)(struct error *err), int (*attempt)(void))
{
	struct error err = ERROR_INIT;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0 && (setgid(SOMEBODY) < 0 || setuid(SOMEBODY) < 0))
			_exit(REFUSED);
		if (lock_in(&err) < 0)
			_exit(REFUSED);
		/* _exit() is more than that call where a sanitizer watches */
		(void)syscall(SYS_exit_group, attempt() < 0 ? FORBIDDEN : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int in_jail(int (*attempt)(void))
{
	return after(enter, attempt);
}

static int make_file(void)
{
	int fd = open("file", O_WRONLY | O_CREAT, 0600);

	return fd < 0 || write(fd, "x", 1) != 1 ? -1 : fchmod(fd, 0755);
}

static int make_tree(void)
{
	return mkdir("d", 0700) < 0 || symlink("/etc", "d/s") < 0 ||
			       open("d/f", O_RDWR | O_CREAT, 0600) < 0 || rename("d/f", "d/g") < 0
		       ? -1
		       : 0;
}

static void what_unpacking_needs(void **state)
{
	(void)state;
	assert_int_equal(in_jail(make_file), 0);
	assert_int_equal(in_jail(make_tree), 0);
}

static int read_outside(void)
{
	return open("/etc/passwd", O_RDONLY);
}

static int read_through_a_link(void)
{
	return symlink("/etc/passwd", "passwd") < 0 ? 0 : open("passwd", O_RDONLY);
}

static int list_outside(void)
{
	return open("/", O_RDONLY | O_DIRECTORY);
}

static int write_outside(void)
{
	return open("/tmp/linzer-jail-test", O_WRONLY | O_CREAT, 0600);
}

static int make_outside(void)
{
	return mkdir("/tmp/linzer-jail-test", 0700);
}

static int read_memory(void)
{
	return open("/proc/self/mem", O_RDWR);
}

/* Of a file that is ours, which Landlock lets anybody do. */
static char outside[256];

static int change_a_mode_outside(void)
{
	return chmod(outside, 0777);
}

static int change_times_outside(void)
{
	return utimensat(AT_FDCWD, outside, NULL, 0);
}

static void nothing_outside(void **state)
{
	(void)state;
	assert_int_equal(in_jail(read_outside), FORBIDDEN);
	assert_int_equal(in_jail(read_through_a_link), FORBIDDEN);
	assert_int_equal(in_jail(list_outside), FORBIDDEN);
	assert_int_equal(in_jail(write_outside), FORBIDDEN);
	assert_int_equal(in_jail(make_outside), FORBIDDEN);
	assert_int_equal(in_jail(read_memory), FORBIDDEN);
	assert_int_equal(in_jail(change_a_mode_outside), FORBIDDEN);
	assert_int_equal(in_jail(change_times_outside), FORBIDDEN);
}

static int set_user_id(void)
{
	int fd = open("suid", O_WRONLY | O_CREAT, 0600);

	return fd < 0 ? 0 : fchmod(fd, 04755);
}

static int make_fifo(void)
{
	return mknod("fifo", S_IFIFO | 0600, 0);
}

static int open_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int start_program(void)
{
	return execl("/bin/true", "true", (char *)NULL);
}

static int have_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : 0;
}

static int signal_parent(void)
{
	return kill(getppid(), 0);
}

/* By the kernel, when something happens to a file of ours. */
static int have_parent_signalled(void)
{
	int fd = open("mine", O_RDWR | O_CREAT, 0600);

	return fd < 0 ? 0 : fcntl(fd, F_SETOWN, getppid());
}

static int choose_signal(void)
{
	int fd = open("mine", O_RDWR | O_CREAT, 0600);

	return fd < 0 ? 0 : fcntl(fd, F_SETSIG, SIGKILL);
}

static int grow(void)
{
	int fd = open("large", O_WRONLY | O_CREAT, 0600);

	(void)signal(SIGXFSZ, SIG_IGN);
	return fd < 0 ? 0 : ftruncate(fd, (1 << 20) + 1);
}

static void nothing_else(void **state)
{
	(void)state;
	assert_int_equal(in_jail(set_user_id), FORBIDDEN);
	assert_int_equal(in_jail(make_fifo), FORBIDDEN);
	assert_int_equal(in_jail(open_socket), FORBIDDEN);
	assert_int_equal(in_jail(start_program), FORBIDDEN);
	assert_int_equal(in_jail(have_child), FORBIDDEN);
	assert_int_equal(in_jail(signal_parent), FORBIDDEN);
	assert_int_equal(in_jail(have_parent_signalled), FORBIDDEN);
	assert_int_equal(in_jail(choose_signal), FORBIDDEN);
	assert_int_equal(in_jail(grow), FORBIDDEN);
}

static int read_home(void)
{
	return open(outside, O_RDONLY);
}

static int speak(void)
{
	return open("/etc/hosts", O_RDONLY) < 0 ? -1 : socket(AF_INET, SOCK_STREAM, 0);
}

static int write_what_is_open(void)
{
	static const char text[] = "x";

	return (int)write(shared, text, 1);
}

static int grow_what_is_open(void)
{
	(void)signal(SIGXFSZ, SIG_IGN);
	return ftruncate(shared, (1 << 20) + 1);
}

static void fetching_has_the_network_and_no_files(void **state)
{
	(void)state;
	assert_int_equal(after(shut, speak), 0);
	assert_int_equal(after(shut, write_what_is_open), 0);
	assert_int_equal(after(shut, grow_what_is_open), FORBIDDEN);
	assert_int_equal(after(shut, make_file), FORBIDDEN);
	assert_int_equal(after(shut, make_tree), FORBIDDEN);
	assert_int_equal(after(shut, read_home), FORBIDDEN);
	assert_int_equal(after(shut, list_outside), FORBIDDEN);
	assert_int_equal(after(shut, write_outside), FORBIDDEN);
	assert_int_equal(after(shut, make_outside), FORBIDDEN);
	assert_int_equal(after(shut, read_memory), FORBIDDEN);
	assert_int_equal(after(shut, start_program), FORBIDDEN);
}

static void root_is_refused(void **state)
{
	const struct jail_limits limits = { 1, 1, 1 };
	struct error err = ERROR_INIT;

	(void)state;
	if (geteuid() != 0)
		return;
	assert_int_equal(jail_enter(dir, &limits, &err), -E_FAILED);
	assert_int_equal(jail_shut_files(1, &err), -E_FAILED);
}

static struct scratch scratch;

/* In a place that its owner, who is the one in the jail, can get at. */
static int make_outside_file(void)
{
	auto_fd fd = open(outside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || fchmod(scratch.lock, 0711) < 0)
		return -1;
	return geteuid() == 0 ? fchown(fd, SOMEBODY, SOMEBODY) : 0;
}

static int set_up(void **state)
{
	(void)state;
	if (scratch_open(&scratch, scratch_place()) < 0 || mkdirat(scratch.lock, "his", 0700) < 0 ||
	    (geteuid() == 0 && fchownat(scratch.lock, "his", SOMEBODY, SOMEBODY, 0) < 0))
		return -1;
	(void)snprintf(outside, sizeof(outside), "%s/outside", scratch.path);
	if (make_outside_file() < 0)
		return -1;
	shared = openat(scratch.lock, "shared", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (shared < 0)
		return -1;
	dir = openat(scratch.lock, "his", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	(void)close(dir);
	(void)close(shared);
	return scratch_close(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_unpacking_needs),
		cmocka_unit_test(nothing_outside),
		cmocka_unit_test(nothing_else),
		cmocka_unit_test(fetching_has_the_network_and_no_files),
		cmocka_unit_test(root_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
