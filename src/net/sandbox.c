/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "net/privilege.h"

enum { FILES_MAX = 128 };

static int set_limits(struct error *err)
{
	const struct rlimit files = { FILES_MAX, FILES_MAX }, none = { 0, 0 };

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_FSIZE, &none) < 0 ||
	    setrlimit(RLIMIT_CORE, &none) < 0)
		return error_errno(err, "cannot set limits");
	return 0;
}

static int drop_user(uid_t id, struct error *err)
{
	if (getuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0)
		return error_errno(err, "cannot change the user");
	return 0;
}

/* After the change of user, which clears it. The filter below has no prctl() to undo it. */
static int die_with(pid_t parent, struct error *err)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return error_errno(err, "cannot set the parent-death signal");
	return getppid() == parent ? 0 : error_set(err, ECANCELED, "the keeper ended");
}

/* No rule allows anything. Kernels without Landlock: the system call filter has no open(). */
static int leave_files(struct error *err)
{
	const struct landlock_ruleset_attr all = {
		/* every right of the first version: EXECUTE to MAKE_SYM */
		.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1,
	};
	auto_fd rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);

	if (rules < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		return 0;
	if (rules < 0 || syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		return error_errno(err, "cannot leave the file system");
	return 0;
}

static int add_calls(scmp_filter_ctx filter, int answers)
{
	static const int calls[] = {
		SCMP_SYS(accept4),	   SCMP_SYS(clock_gettime), SCMP_SYS(close),
		SCMP_SYS(exit_group),	   SCMP_SYS(getrandom),	    SCMP_SYS(poll),
		SCMP_SYS(ppoll),	   SCMP_SYS(recvfrom),	    SCMP_SYS(recvmsg),
		SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn),
	};
	const struct scmp_arg_cmp nobody = SCMP_A4_64(SCMP_CMP_EQ, 0);
	const struct scmp_arg_cmp guest = SCMP_A0_32(SCMP_CMP_EQ, (unsigned)answers);
	int r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1, &nobody);

	if (r == 0)
		r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1, &guest);
	for (size_t i = 0; r == 0 && i < array_size(calls); i++)
		r = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, calls[i], 0, NULL);
	return r;
}

static int filter_calls(int answers, struct error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	if (!filter)
		return error_set(err, ENOMEM, "cannot make the system call filter");
	r = add_calls(filter, answers);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r == 0)
		return 0;
	errno = -r;
	return error_errno(err, "cannot load the system call filter");
}

int sandbox_enter(uid_t id, pid_t parent, int answers, struct error *err)
{
	int r = set_limits(err);

	if (r == 0)
		r = drop_user(id, err);
	if (r == 0)
		r = privilege_drop(err);
	if (r == 0)
		r = die_with(parent, err);
	if (r == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0))
		r = error_errno(err, "cannot give up privileges");
	if (r == 0)
		r = leave_files(err);
	return r < 0 ? r : filter_calls(answers, err);
}
