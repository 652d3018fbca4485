/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The same two walls as machine/sandbox.c has, but put up by the process itself when all libraries
 * are loaded, so that no file of the host has to stay open to it. Landlock says where: beneath one
 * directory. seccomp says what: the system calls that reading an open file and making files need.
 * Landlock does not watch modes and times: seccomp allows them for open files only, and looks at
 * the bits of a mode.
 */

#include "archive/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "machine/call_filter.h"

enum { FILES_OPEN = 64, SPECIAL_BITS = 07000 };

static const uint64_t handled =
	LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
	LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
	LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
	LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
	LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
static const uint64_t allowed = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
				LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
				LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
				LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM;

/* A hard link from one directory to another needs a right of its own, which came with version 2. */
static uint64_t link_right(void)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0;
}

/* Return: a set of rules by which no file can be had at all; or error. */
static int make_ruleset(struct error *err)
{
	const struct landlock_ruleset_attr attr = { .handled_access_fs = handled | link_right() };
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

	if (ruleset < 0)
		return error_set(err, ENOSYS,
				 "this kernel has no Landlock, without which no archive is had");
	return ruleset;
}

static int permit(int ruleset, int fd, uint64_t access)
{
	const struct landlock_path_beneath_attr rule = { .allowed_access = access,
							 .parent_fd = fd };

	return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static int restrict_files(int dir, struct error *err)
{
	auto_fd ruleset = make_ruleset(err);

	if (ruleset < 0)
		return ruleset;
	if (permit(ruleset, dir, allowed | link_right()) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return error_errno(err, "cannot make a sandbox");
	return 0;
}

/* What is not there needs no rule. */
static int permit_reading(int ruleset, const char *path)
{
	auto_fd fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	return permit(ruleset, fd,
		      S_ISDIR(st.st_mode)
			      ? LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR
			      : LANDLOCK_ACCESS_FS_READ_FILE);
}

static const char *const allowed_calls[] = {
	/* memory, time, the end */
	"brk",
	"mmap",
	"munmap",
	"mprotect",
	"mremap",
	"madvise",
	"futex",
	"exit",
	"exit_group",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"clock_gettime",
	"gettimeofday",
	"time",
	"getrandom",
	"sched_getaffinity",
	"sysinfo",
	/* who we are, which cannot be changed */
	"getpid",
	"gettid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"umask",
	/* files: which is Landlock's to say */
	"read",
	"pread64",
	"readv",
	"write",
	"pwrite64",
	"writev",
	"lseek",
	"ftruncate",
	"open",
	"openat",
	"close",
	"dup",
	"stat",
	"lstat",
	"fstat",
	"newfstatat",
	"statx",
	"fstatfs",
	"statfs",
	"access",
	"faccessat",
	"readlink",
	"readlinkat",
	"getdents64",
	"chdir",
	"fchdir",
	"getcwd",
	"mkdir",
	"mkdirat",
	"rmdir",
	"unlink",
	"unlinkat",
	"rename",
	"renameat",
	"renameat2",
	"symlink",
	"symlinkat",
	"link",
	"linkat",
};

/* Without F_SETOWN and F_SETSIG, by which the kernel signals others on one's behalf. */
static const unsigned long allowed_fcntl[] = {
	F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL,
};

static int allow(scmp_filter_ctx filter, const char *name, unsigned count,
		 const struct scmp_arg_cmp *arguments)
{
	return call_filter_rule(filter, SCMP_ACT_ALLOW, name, count, arguments);
}

/* A mode and times only by a descriptor: no path is Landlock's concern there. */
static int allow_metadata(scmp_filter_ctx filter)
{
	int r = allow(filter, "fchmod", 1, &SCMP_A1(SCMP_CMP_MASKED_EQ, SPECIAL_BITS, 0));

	return r < 0 ? r : allow(filter, "utimensat", 1, &SCMP_A1(SCMP_CMP_EQ, 0));
}

static int add_rules(scmp_filter_ctx filter)
{
	int r = allow_metadata(filter);

	for (size_t i = 0; r == 0 && i < array_size(allowed_calls); i++)
		r = allow(filter, allowed_calls[i], 0, NULL);
	for (size_t i = 0; r == 0 && i < array_size(allowed_fcntl); i++)
		r = allow(filter, "fcntl", 1, &SCMP_A1(SCMP_CMP_EQ, allowed_fcntl[i]));
	return r;
}

static int restrict_calls(struct error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = filter ? add_rules(filter) : -ENOMEM;

	if (r == 0)
		r = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	if (r < 0)
		return error_set(err, -r, "cannot make a sandbox: %s", strerror(-r));
	return 0;
}

static int limit(__rlimit_resource_t what, uint64_t value)
{
	const struct rlimit both = { value, value };

	return setrlimit(what, &both);
}

/* What resolving a name, a TLS connection and an encoding load. */
static const char *const readable[] = {
	"/usr",	     "/lib", "/lib32",
	"/lib64",    "/etc", "/etc/resolv.conf" /* often a link to /run */,
	"/dev/null",
};

int jail_shut_files(uint64_t file_size, struct error *err)
{
	auto_fd ruleset = -1;

	if (geteuid() == 0)
		return error_set(err, E_FAILED, "archives are not fetched by root");
	ruleset = make_ruleset(err);
	if (ruleset < 0)
		return ruleset;
	for (size_t i = 0; i < array_size(readable); i++)
		if (permit_reading(ruleset, readable[i]) < 0)
			return error_errno(err, "cannot make a sandbox");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0 ||
	    limit(RLIMIT_FSIZE, file_size) < 0 || limit(RLIMIT_CORE, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return error_errno(err, "cannot make a sandbox");
	return 0;
}

int jail_enter(int dir, const struct jail_limits *limits, struct error *err)
{
	int r;

	if (geteuid() == 0)
		return error_set(err, E_FAILED, "archives are not unpacked by root");
	if (fchdir(dir) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0 ||
	    limit(RLIMIT_FSIZE, limits->file_size) < 0 || limit(RLIMIT_AS, limits->memory) < 0 ||
	    limit(RLIMIT_CPU, limits->cpu_seconds) < 0 || limit(RLIMIT_CORE, 0) < 0 ||
	    limit(RLIMIT_NOFILE, FILES_OPEN) < 0)
		return error_errno(err, "cannot make a sandbox");
	r = restrict_files(dir, err);
	return r < 0 ? r : restrict_calls(err);
}
