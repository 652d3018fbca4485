/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The child reports what failed before exec over a CLOEXEC pipe: end of file
 * means that exec succeeded. Between fork and exec only async-signal-safe
 * calls are made. Descriptors are first moved above the highest number that
 * any of them shall get, then put in place, so that no order of fds can
 * overwrite one that is still needed; close_range() ends all others.
 *
 * Privileges go in the order groups, gid, uid, and only then the parent-death
 * signal is set: a change of uid clears it (tried). A parent that died before
 * that is noticed by comparing getppid().
 */

#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

extern char **environ;

enum stage { STAGE_FDS, STAGE_CALLBACK, STAGE_DROP, STAGE_EXEC };

struct report {
	int stage;
	int why; /* errno */
};

static noreturn_ void child_fail(int report_fd, enum stage stage)
{
	struct report r = { .stage = (int)stage, .why = errno };

	(void)!write(report_fd, &r, sizeof(r));
	_exit(127);
}

static int highest_target(const struct process_spec *spec)
{
	int highest = 2;

	for (size_t i = 0; i < spec->fd_count; i++)
		if (spec->fds[i].theirs > highest)
			highest = spec->fds[i].theirs;
	return highest;
}

static bool is_target(const struct process_spec *spec, int fd)
{
	for (size_t i = 0; i < spec->fd_count; i++)
		if (spec->fds[i].theirs == fd)
			return true;
	return false;
}

/* Return: the report pipe's new number, above all targets. */
static int place_fds(const struct process_spec *spec, int *moved, int report)
{
	int above = highest_target(spec) + 1;
	int null;

	report = fcntl(report, F_DUPFD_CLOEXEC, above);
	if (report < 0)
		_exit(127);
	for (size_t i = 0; i < spec->fd_count; i++) {
		moved[i] = fcntl(spec->fds[i].ours, F_DUPFD_CLOEXEC, above);
		if (moved[i] < 0)
			child_fail(report, STAGE_FDS);
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0)
		null = fcntl(null, F_DUPFD_CLOEXEC, above);
	if (null < 0)
		child_fail(report, STAGE_FDS);
	for (size_t i = 0; i < spec->fd_count; i++)
		if (dup2(moved[i], spec->fds[i].theirs) < 0)
			child_fail(report, STAGE_FDS);
	for (int fd = 0; fd <= 2; fd++)
		if (!is_target(spec, fd) && dup2(null, fd) < 0)
			child_fail(report, STAGE_FDS);
	for (int fd = 3; fd < above; fd++)
		if (!is_target(spec, fd))
			(void)close(fd);
	if (close_range((unsigned)above, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		child_fail(report, STAGE_FDS);
	return report;
}

static void default_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static noreturn_ void child(const struct process_spec *spec, int *moved, int report, pid_t parent)
{
	default_signals();
	report = place_fds(spec, moved, report);
	if (spec->new_session)
		(void)setsid();
	if (spec->in_child && spec->in_child(spec->in_child_arg) != 0)
		child_fail(report, STAGE_CALLBACK);
	if (spec->drop &&
	    (setgroups(spec->group_count, spec->groups) < 0 || setgid(spec->gid) < 0 ||
	     setuid(spec->uid) < 0))
		child_fail(report, STAGE_DROP);
	if (spec->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		child_fail(report, STAGE_DROP);
	if (!spec->outlive) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
			child_fail(report, STAGE_DROP);
		if (getppid() != parent)
			_exit(127);
	}
	(void)execvpe(spec->argv[0], (char *const *)(uintptr_t)spec->argv,
		      spec->env ? (char *const *)(uintptr_t)spec->env : environ);
	child_fail(report, STAGE_EXEC);
}

static int start_failed(const char *program, const struct report *r, struct error *err)
{
	errno = r->why;
	if (r->stage == STAGE_EXEC && (r->why == ENOENT || r->why == ENOTDIR))
		return error_set(err, E_MISSING_TOOL, "cannot run '%s': not found", program);
	return error_errno(err, "cannot run '%s'", program);
}

int process_start(const struct process_spec *spec, pid_t *pid, struct error *err)
{
	auto_free int *moved = xcalloc(spec->fd_count, sizeof(int));
	struct report report;
	pid_t parent = getpid(), started;
	int pipe_fds[2];
	ssize_t n;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_errno(err, "cannot run '%s'", spec->argv[0]);
	started = fork();
	if (started == 0)
		child(spec, moved, pipe_fds[1], parent);
	(void)close(pipe_fds[1]);
	if (started < 0) {
		(void)close(pipe_fds[0]);
		return error_errno(err, "cannot run '%s'", spec->argv[0]);
	}
	do
		n = read(pipe_fds[0], &report, sizeof(report));
	while (n < 0 && errno == EINTR);
	(void)close(pipe_fds[0]);
	if (n == (ssize_t)sizeof(report)) {
		(void)waitpid(started, NULL, 0);
		return start_failed(spec->argv[0], &report, err);
	}
	*pid = started;
	return 0;
}

int process_wait(pid_t pid, int *status, struct error *err)
{
	int raw;

	while (waitpid(pid, &raw, 0) < 0)
		if (errno != EINTR)
			return error_errno(err, "cannot wait for process %d", (int)pid);
	*status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
	return 0;
}

/* One run in progress: our ends of the child's 0, 1 and 2, -1 where closed. */
struct run {
	int in, out, errors;
	const struct str *input;
	size_t written;
	struct str *out_text, *error_text;
	size_t limit;
	bool overflow;
};

enum { ERROR_LIMIT = 4096 };

static void close_end(int *fd)
{
	(void)close(*fd);
	*fd = -1;
}

static void feed(struct run *run)
{
	ssize_t n = write(run->in, run->input->ptr + run->written,
			  run->input->len - run->written);

	if (n > 0)
		run->written += (size_t)n;
	if ((n < 0 && errno != EINTR && errno != EAGAIN) || run->written == run->input->len)
		close_end(&run->in);
}

static void drain(struct run *run, int *fd, struct str *text, size_t limit, bool strict)
{
	char buffer[4096];
	ssize_t n = read(*fd, buffer, sizeof(buffer));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		close_end(fd);
		return;
	}
	if (text && text->len + (size_t)n <= limit)
		str_add(text, buffer, (size_t)n);
	else if (text && strict)
		run->overflow = true;
}

static int wait_for_io(struct run *run, int timeout)
{
	struct pollfd fds[3] = {
		{ .fd = run->in, .events = POLLOUT },
		{ .fd = run->out, .events = POLLIN },
		{ .fd = run->errors, .events = POLLIN },
	};
	int n = poll(fds, 3, timeout);

	if (n <= 0)
		return n;
	if (fds[0].revents)
		feed(run);
	if (fds[1].revents)
		drain(run, &run->out, run->out_text, run->limit, true);
	if (fds[2].revents)
		drain(run, &run->errors, run->error_text, ERROR_LIMIT, false);
	return n;
}

/* Move bytes until both outputs ended. Return: 0, -ETIMEDOUT or -E_TOO_BIG. */
static int talk(struct run *run, uint64_t timeout_ms, const char *program, struct error *err)
{
	uint64_t end = clock_ms() + timeout_ms;

	while (run->out >= 0 || run->errors >= 0) {
		uint64_t now = clock_ms();

		if (timeout_ms && now >= end)
			return error_set(err, ETIMEDOUT, "'%s' took too long", program);
		(void)wait_for_io(run, timeout_ms ? (int)(end - now) : -1);
		if (run->overflow)
			return error_set(err, E_TOO_BIG, "'%s' printed more than %zu bytes",
					 program, run->limit);
	}
	return 0;
}

static void close_run(struct run *run)
{
	cleanup_close_(&run->in);
	cleanup_close_(&run->out);
	cleanup_close_(&run->errors);
}

int process_run(const struct process_spec *spec, const struct str *input, struct str *out,
		size_t limit, struct str *errors, uint64_t timeout_ms, struct error *err)
{
	int in[2], outs[2], errs[2], status, r;
	auto_free struct process_fd *fds = xcalloc(spec->fd_count + 3, sizeof(*fds));
	struct process_spec with = *spec;
	static const struct str nothing = STR_INIT;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0)
		return error_errno(err, "cannot run '%s'", spec->argv[0]);
	if (pipe2(outs, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0)
		return error_errno(err, "cannot run '%s'", spec->argv[0]);
	if (spec->fd_count)
		memcpy(fds, spec->fds, spec->fd_count * sizeof(*fds));
	fds[spec->fd_count] = (struct process_fd){ in[0], 0 };
	fds[spec->fd_count + 1] = (struct process_fd){ outs[1], 1 };
	fds[spec->fd_count + 2] = (struct process_fd){ errs[1], 2 };
	with.fds = fds;
	with.fd_count = spec->fd_count + 3;
	r = process_start(&with, &pid, err);
	(void)close(in[0]);
	(void)close(outs[1]);
	(void)close(errs[1]);

	cleanup_(close_run) struct run run = {
		.in = in[1],
		.out = outs[0],
		.errors = errs[0],
		.input = input ? input : &nothing,
		.out_text = out,
		.error_text = errors,
		.limit = limit,
	};
	if (r < 0)
		return r;
	(void)fcntl(run.in, F_SETFL, O_NONBLOCK);
	if (run.input->len == 0)
		close_end(&run.in);
	r = talk(&run, timeout_ms, spec->argv[0], err);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	if (process_wait(pid, &status, r < 0 ? &(struct error)ERROR_INIT : err) < 0 && r == 0)
		return -err->code;
	return r < 0 ? r : status;
}
