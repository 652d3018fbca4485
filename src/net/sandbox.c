/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "net/privilege.h"

static int set_limits(unsigned count, struct error *err)
{
	const struct rlimit none = { 0, 0 };
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return error_errno(err, "cannot read limits");
	/* where the host allows fewer, accept() fails before */
	if (files.rlim_max > count)
		files.rlim_max = count;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_FSIZE, &none) < 0 ||
	    setrlimit(RLIMIT_CORE, &none) < 0)
		return error_errno(err, "cannot set limits");
	return 0;
}

static int drop_user(uid_t id, struct error *err)
{
	if (getuid() != 0)
		return 0;
	if (setresgid(id, id, id) < 0) {
		/* the user namespace of an ordinary user: it has no other to become */
		if (errno == EINVAL)
			return 0;
		return error_errno(err, "cannot change the group");
	}
	if (setgroups(0, NULL) < 0 || setresuid(id, id, id) < 0)
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

/* sendto() without an address, or on @answers; of options one, which decides what close() sends. */
static int add_limited_calls(scmp_filter_ctx filter, int answers)
{
	int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1,
				 SCMP_A4_64(SCMP_CMP_EQ, 0));

	if (r == 0 && answers >= 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1,
				     SCMP_A0_32(SCMP_CMP_EQ, (unsigned)answers));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
				     SCMP_A1_32(SCMP_CMP_EQ, SOL_SOCKET),
				     SCMP_A2_32(SCMP_CMP_EQ, SO_LINGER));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(shutdown), 1,
				     SCMP_A1_32(SCMP_CMP_EQ, SHUT_WR));
	return r;
}

static int add_calls(scmp_filter_ctx filter, int answers)
{
	static const int calls[] = {
		SCMP_SYS(accept4),	   SCMP_SYS(clock_gettime), SCMP_SYS(close),
		SCMP_SYS(exit_group),	   SCMP_SYS(getrandom),	    SCMP_SYS(poll),
		SCMP_SYS(ppoll),	   SCMP_SYS(recvfrom),	    SCMP_SYS(recvmsg),
		SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn),
	};
	int r = add_limited_calls(filter, answers);

	for (size_t i = 0; r == 0 && i < array_size(calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return r;
}

/*
 * One call more that kills, in a filter of its own: all filters have to agree. Masked, as
 * the kernel takes only the lower half of what it is given for a descriptor.
 */
static int add_silence(scmp_filter_ctx filter, int silent)
{
	return seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(sendto), 1,
				SCMP_A0_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, (unsigned)silent));
}

/*
 * Closed, its number would go to the next socket that the keeper gives or that is accepted, which
 * may then be sent, or with MSG_FASTOPEN connected, to anybody.
 */
static int add_lasting(scmp_filter_ctx filter, int answers)
{
	return seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(close), 1,
				SCMP_A0_64(SCMP_CMP_MASKED_EQ, UINT32_MAX, (unsigned)answers));
}

static int filter_calls(uint32_t otherwise, int (*add)(scmp_filter_ctx, int), int fd,
			struct error *err)
{
	scmp_filter_ctx filter = seccomp_init(otherwise);
	int r;

	if (!filter)
		return error_set(err, ENOMEM, "cannot make the system call filter");
	r = add(filter, fd);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r == 0)
		return 0;
	errno = -r;
	return error_errno(err, "cannot load the system call filter");
}

int sandbox_enter(const struct sandbox *s, struct error *err)
{
	int r = set_limits(s->files, err);

	if (r == 0)
		r = drop_user(s->id, err);
	if (r == 0)
		r = privilege_drop(err);
	if (r == 0)
		r = die_with(s->parent, err);
	if (r == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0))
		r = error_errno(err, "cannot give up privileges");
	if (r == 0)
		r = leave_files(err);
	if (r == 0 && s->silent >= 0)
		r = filter_calls(SCMP_ACT_ALLOW, add_silence, s->silent, err);
	if (r == 0 && s->answers >= 0)
		r = filter_calls(SCMP_ACT_ALLOW, add_lasting, s->answers, err);
	return r < 0 ? r : filter_calls(SCMP_ACT_KILL_PROCESS, add_calls, s->answers, err);
}
