/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Landlock decides which files can be opened: those handed over, which the
 * program opens anew as /proc/self/fd/N (the check looks at the file behind the
 * link), and the libraries. seccomp allows the system calls that qemu-img makes and
 * answers ENOSYS to all others: no socket, no fork (threads only), no signal to
 * another process, no ioctl, nothing that changes a file's metadata, which
 * Landlock does not watch. Resource limits do the rest. Both need no
 * privilege and no user namespace, so root and an ordinary user get the same.
 *
 * Root moves to a user id that nobody else has. To open the given files anew
 * there it keeps one capability, CAP_DAC_OVERRIDE, which opens nothing that
 * Landlock does not.
 *
 * All that allocates is done before the fork: the child makes system calls only.
 */

#include "machine/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/str.h"
#include "machine/call_filter.h"

enum {
	SANDBOX_UID = 0x70010000, /* no convention assigns it; above run/identity.h's */
	SANDBOX_THREADS = 512,
	SANDBOX_FILTER_MAX = BPF_MAXINSNS,
};

/* What the child applies to itself; made by its parent. */
struct sandbox {
	const struct sandbox_spec *spec;
	int ruleset; /* its number in the child: the one behind the files */
	struct sock_fprog filter;
	struct sock_filter code[SANDBOX_FILTER_MAX];
};

enum {
	ALLOW_READ = LANDLOCK_ACCESS_FS_READ_FILE,
	ALLOW_WRITE = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE,
	ALLOW_RUN = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE,
	ALLOW_LIBRARIES = ALLOW_RUN | LANDLOCK_ACCESS_FS_READ_DIR,
};

/* The first version of Landlock (Linux 5.13) has these rights; seccomp denies truncate(2). */
static const uint64_t handled =
	LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |
	LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR |
	LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
	LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
	LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

static int allow_fd(int ruleset, int fd, uint64_t access, struct error *err)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };

	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return error_errno(err, "cannot make a sandbox");
	return 0;
}

/* An absent path is none that needs a rule. */
static int allow_path(int ruleset, const char *path, uint64_t access, struct error *err)
{
	auto_fd fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "cannot open '%s'", path);
	return allow_fd(ruleset, fd, access, err);
}

static int allow_program(int ruleset, const char *program, struct error *err)
{
	static const char *const libraries[] = { "/lib", "/lib64", "/usr/lib", "/usr/lib64" };
	int r = allow_path(ruleset, program, ALLOW_RUN, err);

	for (size_t i = 0; r == 0 && i < array_size(libraries); i++)
		r = allow_path(ruleset, libraries[i], ALLOW_LIBRARIES, err);
	if (r == 0)
		r = allow_path(ruleset, "/etc/ld.so.cache", ALLOW_READ, err);
	/* QEMU tries its locks there, and says a word of it before what really fails */
	return r < 0 ? r : allow_path(ruleset, "/dev/null", ALLOW_WRITE, err);
}

/* Return: a Landlock ruleset, as a descriptor. */
static int make_ruleset(const struct sandbox_spec *spec, struct error *err)
{
	const struct landlock_ruleset_attr attr = { .handled_access_fs = handled };
	auto_fd ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	int r;

	if (ruleset < 0)
		return error_set(err, ENOSYS,
				 "this kernel has no Landlock, without which a foreign disk image "
				 "is not opened");
	r = allow_program(ruleset, spec->argv[0], err);
	for (size_t i = 0; r == 0 && i < spec->file_count; i++)
		r = allow_fd(ruleset, spec->files[i].fd,
			     spec->files[i].write ? ALLOW_WRITE : ALLOW_READ, err);
	return r < 0 ? r : take_fd(&ruleset);
}

static const char *const allowed_calls[] = {
	/* the start of a program and its memory */
	"execve",
	"brk",
	"mmap",
	"munmap",
	"mprotect",
	"mremap",
	"madvise",
	"arch_prctl",
	"set_tid_address",
	"set_robust_list",
	"rseq",
	"uname",
	"exit",
	"exit_group",
	/* files: what may be opened is Landlock's to say */
	"open",
	"openat",
	"close",
	"read",
	"readv",
	"pread64",
	"preadv",
	"write",
	"writev",
	"pwrite64",
	"pwritev",
	"lseek",
	"ftruncate",
	"fallocate",
	"fsync",
	"fdatasync",
	"copy_file_range",
	"fadvise64",
	"sync_file_range",
	"stat",
	"lstat",
	"fstat",
	"newfstatat",
	"statx",
	"statfs",
	"fstatfs",
	"access",
	"faccessat",
	"faccessat2",
	"readlink",
	"readlinkat",
	"getdents64",
	"getcwd",
	"dup",
	"dup2",
	"dup3",
	/* waiting, threads, time, signals to itself by faults only */
	"futex",
	"poll",
	"ppoll",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"pipe2",
	"eventfd2",
	"signalfd4",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigaltstack",
	"restart_syscall",
	"sched_yield",
	"sched_getaffinity",
	"clock_gettime",
	"clock_getres",
	"clock_nanosleep",
	"nanosleep",
	"gettimeofday",
	"getrandom",
	"getpid",
	"gettid",
	"getppid",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"sysinfo",
};

/* fcntl() without F_SETOWN and F_SETSIG, by which the kernel signals others on one's behalf. */
static const unsigned long allowed_fcntl[] = {
	F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,	    F_GETFL,	  F_SETFL,
	F_GETLK, F_SETLK,	  F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW,
};

static int allow_call(scmp_filter_ctx filter, const char *name, unsigned count,
		      const struct scmp_arg_cmp *arguments)
{
	return call_filter_rule(filter, SCMP_ACT_ALLOW, name, count, arguments);
}

static int allow_calls(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
	const struct scmp_arg_cmp name = SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME);
	const struct scmp_arg_cmp death[] = { SCMP_A0(SCMP_CMP_EQ, PR_SET_PDEATHSIG),
					      SCMP_A1(SCMP_CMP_EQ, SIGKILL) };
	const struct scmp_arg_cmp own_limits[] = { SCMP_A0(SCMP_CMP_EQ, 0),
						   SCMP_A2(SCMP_CMP_EQ, 0) };
	int r = 0;

	for (size_t i = 0; r == 0 && i < array_size(allowed_calls); i++)
		r = allow_call(filter, allowed_calls[i], 0, NULL);
	for (size_t i = 0; r == 0 && i < array_size(allowed_fcntl); i++)
		r = allow_call(filter, "fcntl", 1, &SCMP_A1(SCMP_CMP_EQ, allowed_fcntl[i]));
	if (r == 0)
		r = allow_call(filter, "clone", 1, &thread);
	if (r == 0)
		r = allow_call(filter, "prctl", 1, &name);
	if (r == 0)
		r = allow_call(filter, "prctl", array_size(death), death);
	if (r == 0)
		r = allow_call(filter, "prlimit64", array_size(own_limits), own_limits);
	return r;
}

static int make_filter(struct sandbox *sandbox, struct error *err)
{
	/* ENOSYS: libraries then try what older kernels have (clone3 -> clone) */
	int r = call_filter_make(SCMP_ACT_ERRNO(ENOSYS), allow_calls, sandbox->code,
				 array_size(sandbox->code), &sandbox->filter, err);

	return r < 0 ? error_wrap(err, "cannot make a sandbox") : 0;
}

static int limit(__rlimit_resource_t what, uint64_t value)
{
	const struct rlimit both = { value, value };

	return setrlimit(what, &both);
}

static int set_limits(const struct sandbox_spec *spec)
{
	/* SIGXCPU at the soft limit may be ignored, SIGKILL at the hard one may not */
	if (limit(RLIMIT_CPU, spec->cpu_seconds) < 0 || limit(RLIMIT_AS, spec->memory) < 0 ||
	    limit(RLIMIT_FSIZE, spec->file_size) < 0 || limit(RLIMIT_CORE, 0) < 0 ||
	    limit(RLIMIT_MEMLOCK, 0) < 0 ||
	    limit(RLIMIT_NOFILE, SANDBOX_FIRST_FD + 3 * SANDBOX_FILES_MAX) < 0)
		return -1;
	return 0;
}

static int keep_only(unsigned capability)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	data[0].permitted = data[0].effective = data[0].inheritable = 1U << capability;
	if (syscall(SYS_capset, &header, data) < 0)
		return -1;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, (unsigned long)capability, 0UL, 0UL);
}

static int leave_root(void)
{
	if (limit(RLIMIT_NPROC, SANDBOX_THREADS) < 0 || setgroups(0, NULL) < 0 ||
	    setgid(SANDBOX_UID) < 0 || prctl(PR_SET_KEEPCAPS, 1UL, 0UL, 0UL, 0UL) < 0 ||
	    setuid(SANDBOX_UID) < 0)
		return -1;
	return keep_only(CAP_DAC_OVERRIDE);
}

static int enter(void *arg)
{
	const struct sandbox *sandbox = arg;

	if (set_limits(sandbox->spec) < 0 || (geteuid() == 0 && leave_root() < 0))
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0 ||
	    syscall(SYS_landlock_restrict_self, sandbox->ruleset, 0) < 0 ||
	    close(sandbox->ruleset) < 0)
		return -1;
	return (int)prctl(PR_SET_SECCOMP, (unsigned long)SECCOMP_MODE_FILTER, &sandbox->filter, 0UL,
			  0UL);
}

int sandbox_run(const struct sandbox_spec *spec, struct str *out, size_t limit, struct str *errors,
		struct error *err)
{
	static const char *const environment[] = { "LC_ALL=C", NULL };
	struct process_fd fds[SANDBOX_FILES_MAX + 1];
	struct sandbox sandbox = { .spec = spec };
	auto_fd ruleset = -1;
	int r;

	if (spec->file_count > SANDBOX_FILES_MAX)
		return error_set(err, E_TOO_BIG, "too many files for a sandbox");
	for (size_t i = 0; i < spec->file_count; i++)
		fds[i] = (struct process_fd){ spec->files[i].fd, SANDBOX_FIRST_FD + (int)i };
	ruleset = make_ruleset(spec, err);
	if (ruleset < 0)
		return ruleset;
	sandbox.ruleset = SANDBOX_FIRST_FD + (int)spec->file_count;
	fds[spec->file_count] = (struct process_fd){ ruleset, sandbox.ruleset };
	r = make_filter(&sandbox, err);
	if (r < 0)
		return r;
	return process_run(&(struct process_spec){ .argv = spec->argv,
						   .env = environment,
						   .fds = fds,
						   .fd_count = spec->file_count + 1,
						   .in_child = enter,
						   .in_child_arg = &sandbox },
			   NULL, out, limit, errors, spec->timeout_ms, err);
}
