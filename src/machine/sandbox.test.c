/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/scratch.h"
#include "base/str.h"
#include "machine/sandbox.h"

/*
 * An attacker who took over the program is played by Perl (every Debian has it): each
 * probe prints "out" where it got out. The control shows that the same line without the
 * sandbox does print it, so that a probe that cannot fail is found.
 */

static struct scratch scratch;

static int enter_directory(void **state)
{
	(void)state;
	return scratch_open(&scratch, scratch_place()) < 0 ? -1 : chmod(scratch.path, 0755);
}

static int leave_directory(void **state)
{
	(void)state;
	if (chdir("/") < 0)
		return -1;
	return scratch_close(&scratch);
}

static int make_file(const char *name, const char *text)
{
	auto_free char *path = str_format("%s/%s", scratch.path, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct error err = ERROR_INIT;

	assert_true(fd >= 0);
	assert_int_equal(fs_write_all(fd, text, strlen(text), &err), 0);
	return fd;
}

enum { MEGABYTE = 1024 * 1024 };

/* Run Perl on @script with one file to read (3), one to write (4) and /dev/null. */
static int perl(const char *script, struct str *out)
{
	auto_fd in = make_file("in", "given"), to = make_file("to", "");
	auto_fd null = open("/dev/null", O_RDONLY | O_CLOEXEC); /* perl -e opens it */
	const struct sandbox_file files[] = { { in, false }, { to, true }, { null, false } };
	struct error err = ERROR_INIT;
	auto_str errors = STR_INIT;
	int r = sandbox_run(&(struct sandbox_spec){ .argv = (const char *const[]){ "/usr/bin/perl",
										   "-e", script,
										   NULL },
						    .files = files,
						    .file_count = array_size(files),
						    .cpu_seconds = 1,
						    .memory = 256 * MEGABYTE,
						    .file_size = MEGABYTE,
						    .timeout_ms = 30000 },
			    out, 4096, &errors, &err);

	if (r < 0)
		fail_msg("%s: %s", script, err.text);
	return r;
}

static void the_given_files_can_be_opened_anew(void **state)
{
	auto_str out = STR_INIT;

	(void)state;
	assert_int_equal(perl("open(F, '<', '/proc/self/fd/3') or die $!; print <F>;"
			      "open(G, '+<', '/proc/self/fd/4') or die $!; print G 'written';"
			      "close(G) or die $!",
			      &out),
			 0);
	assert_string_equal(out.ptr, "given");
	str_reset(&out);
	{
		struct error err = ERROR_INIT;
		auto_free char *path = str_format("%s/to", scratch.path);

		assert_int_equal(fs_read_file(AT_FDCWD, path, 100, &out, &err), 0);
	}
	assert_string_equal(out.ptr, "written");
}

/* The script prints "out" outside of the sandbox; inside it runs, and does not. */
static void refused(const char *probe)
{
	auto_free char *script = str_format("$| = 1; print q(ran ); %s", probe);
	const char *const argv[] = { "/usr/bin/perl", "-e", script, NULL };
	auto_str control = STR_INIT, out = STR_INIT;
	struct error err = ERROR_INIT;

	assert_int_equal(chdir(scratch.path), 0); /* for "in", where there is no descriptor 3 */
	if (process_run(&(struct process_spec){ .argv = argv }, NULL, &control, 4096, NULL, 30000,
			&err) < 0)
		fail_msg("%s: %s", script, err.text);
	if (!strstr(control.ptr, "out"))
		fail_msg("the control failed: %s", script);
	(void)perl(script, &out);
	if (!str_starts(out.ptr, "ran "))
		fail_msg("did not run: %s", script);
	if (strstr(out.ptr, "out"))
		fail_msg("got out: %s", script);
}

static void no_other_file_can_be_opened(void **state)
{
	(void)state;
	refused("open(F, q(<), q(/etc/passwd)) and print q(out)");
	refused("open(F, q(<), q(/etc/hostname)) and print q(out)");
	refused("open(F, q(<), q(/proc/self/environ)) and print q(out)");
	refused("open(F, q(<), q(/proc/1/status)) and print q(out)");
	refused("open(F, q(<), q(/proc/self/root/etc/passwd)) and print q(out)");
	refused("opendir(D, q(/)) and print q(out)");
	refused("opendir(D, q(/etc)) and print q(out)");
	refused("open(F, q(<), q(/usr/share/common-licenses/GPL-2)) and print q(out)");
}

static void nothing_else_can_be_written_or_changed(void **state)
{
	(void)state;
	refused("open(F, q(>), q(/var/tmp/linzer-test-sandbox-probe)) and print q(out);"
		"unlink(q(/var/tmp/linzer-test-sandbox-probe))");
	refused("mkdir(q(/var/tmp/linzer-test-sandbox-dir)) and print q(out);"
		"rmdir(q(/var/tmp/linzer-test-sandbox-dir))");
	refused("symlink(q(x), q(/var/tmp/linzer-test-sandbox-link)) and print q(out);"
		"unlink(q(/var/tmp/linzer-test-sandbox-link))");
	/* the file to read: neither content nor metadata */
	refused("open(F, q(>), -e q(/proc/self/fd/3) ? q(/proc/self/fd/3) : q(in)) and print "
		"q(out)");
	refused("chmod(0777, -e q(/proc/self/fd/3) ? q(/proc/self/fd/3) : q(in)) and print q(out)");
	refused("utime(1, 1, -e q(/proc/self/fd/3) ? q(/proc/self/fd/3) : q(in)) and print q(out)");
	refused("truncate(-e q(/proc/self/fd/3) ? q(/proc/self/fd/3) : q(in), 1) and print q(out)");
}

static void there_is_no_network(void **state)
{
	(void)state;
	refused("socket(S, 1, 1, 0) and print q(out)"); /* AF_UNIX */
	refused("socket(S, 2, 1, 0) and print q(out)"); /* AF_INET */
	refused("socket(S, 2, 2, 0) and print q(out)");
	refused("socket(S, 10, 1, 0) and print q(out)"); /* AF_INET6 */
	refused("socket(S, 16, 3, 0) and print q(out)"); /* AF_NETLINK */
	refused("socketpair(A, B, 1, 1, 0) and print q(out)");
}

static void no_process_is_started_or_touched(void **state)
{
	(void)state;
	refused("my $p = fork(); exit 0 if defined $p && $p == 0; print q(out) if defined $p");
	refused("print q(out) if system(q(/bin/true)) == 0");
	refused("kill(0, getppid()) and print q(out)");
	refused("kill(0, $$) and print q(out)");
	refused("setpgrp(0, 0) and print q(out)"); /* or it leaves its parent's reach */
	/* an exec replaces the program, if at all, by one within the same walls */
	refused("exec(q(/bin/sh), q(-c), q(echo out))");
}

static void refused_call(long number, const char *arguments)
{
	auto_free char *script =
		str_format("print q(out) if syscall(%ld, %s) >= 0", number, arguments);

	refused(script);
}

static void calls_that_reach_into_the_kernel_are_refused(void **state)
{
	(void)state;
	refused_call(SYS_unshare, "0x10000000");
	refused_call(SYS_memfd_create, "my $x = qq(a), 0");
	refused_call(SYS_userfaultfd, "1");
	refused_call(SYS_inotify_init1, "0");
	refused_call(SYS_shmget, "0, 4096, 0");
	refused_call(SYS_personality, "0xffffffff");
	refused_call(SYS_getpriority, "0, 0");
	refused_call(SYS_prctl, "3, 0, 0, 0, 0"); /* PR_GET_DUMPABLE */
	/* F_SETOWN: the kernel would signal for it */
	refused("print q(out) if fcntl(STDOUT, 8, $$ + 0)");
}

/* The status tells which limit ended it. */
static void each_resource_is_limited(void **state)
{
	auto_str out = STR_INIT;
	int r;

	(void)state;
	r = perl("1 while 1", &out);
	assert_int_equal(r, 128 + SIGKILL);
	r = perl("my $x = q(a) x (400 * 1024 * 1024); print q(out)", &out);
	assert_int_not_equal(r, 0);
	assert_int_equal(out.len, 0);
	(void)perl("$SIG{XFSZ} = q(IGNORE); open(G, q(+<), q(/proc/self/fd/4)) or die;"
		   "seek(G, 1024 * 1024 - 1, 0); print G q(xy); close(G) and print q(out)",
		   &out);
	assert_null(strstr(out.ptr, "out"));
	r = perl("open(G, q(+<), q(/proc/self/fd/4)) or die;"
		 "truncate(G, 1024 * 1024 + 1) and print q(out)",
		 &out);
	assert_int_equal(r, 128 + SIGXFSZ);
}

static void only_what_is_given_is_open(void **state)
{
	auto_fd secret = open("/etc/passwd", O_RDONLY); /* not even close-on-exec */
	auto_str out = STR_INIT;

	(void)state;
	assert_true(secret >= 0);
	/* 0, 1, 2, the three files */
	(void)perl("for (0..200) { print qq($_ ) if -e qq(/proc/self/fd/$_) }", &out);
	assert_string_equal(out.ptr, "0 1 2 3 4 5 ");
}

static void root_is_nobody_inside(void **state)
{
	auto_str out = STR_INIT;

	(void)state;
	assert_int_equal(perl("print $< == 0 || $> == 0 ? q(root) : q(nobody)", &out), 0);
	assert_string_equal(out.ptr, "nobody");
}

static void a_missing_program_is_reported(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(
		sandbox_run(&(struct sandbox_spec){ .argv = (const char *const[]){ "/nonexistent",
										   NULL },
						    .cpu_seconds = 1,
						    .memory = 256 * MEGABYTE,
						    .file_size = 0,
						    .timeout_ms = 30000 },
			    NULL, 0, NULL, &err),
		-E_MISSING_TOOL);
}

#define in_directory(test) cmocka_unit_test_setup_teardown(test, enter_directory, leave_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_directory(the_given_files_can_be_opened_anew),
		in_directory(no_other_file_can_be_opened),
		in_directory(nothing_else_can_be_written_or_changed),
		in_directory(there_is_no_network),
		in_directory(no_process_is_started_or_touched),
		in_directory(calls_that_reach_into_the_kernel_are_refused),
		in_directory(each_resource_is_limited),
		in_directory(only_what_is_given_is_open),
		in_directory(root_is_nobody_inside),
		in_directory(a_missing_program_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
