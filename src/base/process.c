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
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

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
	int high = fcntl(report, F_DUPFD_CLOEXEC, above);
	int null;

	if (high < 0)
		child_fail(report, STAGE_FDS);
	report = high;
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

void process_default_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static noreturn_ void child(const struct process_spec *spec, int *moved, int report, pid_t parent)
{
	process_default_signals();
	report = place_fds(spec, moved, report);
	if (spec->new_session)
		(void)setsid();
	if (spec->in_child && spec->in_child(spec->in_child_arg) != 0)
		child_fail(report, STAGE_CALLBACK);
	if (spec->drop && (setgroups(spec->group_count, spec->groups) < 0 ||
			   setgid(spec->gid) < 0 || setuid(spec->uid) < 0))
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

pid_t process_fork(void)
{
	sigset_t all, before;
	pid_t pid;
	int saved;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	saved = errno;
	if (pid != 0)
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return pid;
}

int process_start_thread(pthread_t *thread, void *(*run)(void *), void *arg, struct error *err)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(thread, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r ? error_set(err, E_FAILED, "cannot start a thread: %s", strerror(r)) : 0;
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
	started = process_fork();
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
		while (waitpid(started, NULL, 0) < 0 && errno == EINTR)
			;
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
	size_t room, error_room; /* bytes that may still be added to each */
	bool overflow;
};

enum { ERROR_LIMIT = 4096 };

static void close_end(int *fd)
{
	cleanup_close_(fd);
	*fd = -1;
}

/* write() that reports a closed pipe by EPIPE alone: SIGPIPE is this process's, and may kill it. */
static ssize_t write_quietly(int fd, const void *bytes, size_t len)
{
	static const struct timespec now = { 0 };
	sigset_t pipe_set, before, pending;
	ssize_t n;
	int saved;

	(void)sigemptyset(&pipe_set);
	(void)sigaddset(&pipe_set, SIGPIPE);
	(void)sigpending(&pending);
	(void)pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
	n = write(fd, bytes, len);
	saved = errno;
	if (n < 0 && saved == EPIPE && !sigismember(&pending, SIGPIPE))
		(void)sigtimedwait(&pipe_set, NULL, &now);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return n;
}

static void feed(struct run *run)
{
	ssize_t n = write_quietly(run->in, run->input->ptr + run->written,
				  run->input->len - run->written);

	if (n > 0)
		run->written += (size_t)n;
	if ((n < 0 && errno != EINTR && errno != EAGAIN) || run->written == run->input->len)
		close_end(&run->in);
}

/* Read once, keeping what @room has room for. Return: was there more? */
static bool drain(int *fd, struct str *text, size_t *room)
{
	char buffer[4096];
	ssize_t n = read(*fd, buffer, sizeof(buffer));
	size_t kept;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (n <= 0) {
		close_end(fd);
		return false;
	}
	kept = (size_t)n < *room ? (size_t)n : *room;
	if (text)
		str_add(text, buffer, kept);
	*room -= kept;
	return (size_t)n > kept;
}

static void wait_for_io(struct run *run, int timeout)
{
	struct pollfd fds[3] = {
		{ .fd = run->in, .events = POLLOUT },
		{ .fd = run->out, .events = POLLIN },
		{ .fd = run->errors, .events = POLLIN },
	};

	if (poll(fds, 3, timeout) <= 0)
		return;
	if (fds[0].revents)
		feed(run);
	if (fds[1].revents && drain(&run->out, run->out_text, &run->room))
		run->overflow = run->out_text != NULL;
	if (fds[2].revents)
		(void)drain(&run->errors, run->error_text, &run->error_room);
}

/* Milliseconds until @end as poll() takes them; -1 where @end is 0: for ever. */
static int until(uint64_t end)
{
	uint64_t now = clock_ms();

	if (!end)
		return -1;
	if (now >= end)
		return 0;
	return end - now > INT_MAX ? INT_MAX : (int)(end - now);
}

/* Move bytes until all three ends are closed. Return: 0, -ETIMEDOUT or -E_TOO_BIG. */
static int talk(struct run *run, uint64_t end, const char *program, size_t limit, struct error *err)
{
	while (run->in >= 0 || run->out >= 0 || run->errors >= 0) {
		int left = until(end);

		if (left == 0)
			return error_set(err, ETIMEDOUT, "'%s' took too long", program);
		wait_for_io(run, left);
		if (run->overflow)
			return error_set(err, E_TOO_BIG, "'%s' printed more than %zu bytes",
					 program, limit);
	}
	return 0;
}

/* A program may close its output long before it ends. */
static int await_exit(pid_t pid, uint64_t end, const char *program, struct error *err)
{
	auto_fd pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd fds = { .fd = pidfd, .events = POLLIN };

	if (pidfd < 0)
		return error_errno(err, "cannot wait for '%s'", program);
	while (poll(&fds, 1, until(end)) <= 0)
		if (until(end) == 0)
			return error_set(err, ETIMEDOUT, "'%s' took too long", program);
	return 0;
}

struct pipe_ends {
	int fds[2];
};

static void close_pipe(struct pipe_ends *p)
{
	close_end(&p->fds[0]);
	close_end(&p->fds[1]);
}
#define auto_pipe cleanup_(close_pipe) struct pipe_ends

static void close_run(struct run *run)
{
	close_end(&run->in);
	close_end(&run->out);
	close_end(&run->errors);
}

/* Start @spec with pipes on 0, 1 and 2, our ends of which go into @run. */
static int start_with_pipes(const struct process_spec *spec, struct run *run, pid_t *pid,
			    struct error *err)
{
	auto_pipe in = { { -1, -1 } }, out = { { -1, -1 } }, errors = { { -1, -1 } };
	auto_free struct process_fd *fds = xcalloc(spec->fd_count + 3, sizeof(*fds));
	struct process_spec with = *spec;
	int r;

	if (pipe2(in.fds, O_CLOEXEC) < 0 || pipe2(out.fds, O_CLOEXEC) < 0 ||
	    pipe2(errors.fds, O_CLOEXEC) < 0)
		return error_errno(err, "cannot run '%s'", spec->argv[0]);
	for (size_t i = 0; i < spec->fd_count; i++)
		fds[i] = spec->fds[i];
	fds[spec->fd_count] = (struct process_fd){ in.fds[0], STDIN_FILENO };
	fds[spec->fd_count + 1] = (struct process_fd){ out.fds[1], STDOUT_FILENO };
	fds[spec->fd_count + 2] = (struct process_fd){ errors.fds[1], STDERR_FILENO };
	with.fds = fds;
	with.fd_count = spec->fd_count + 3;
	r = process_start(&with, pid, err);
	if (r < 0)
		return r;
	run->in = take_fd(&in.fds[1]);
	run->out = take_fd(&out.fds[0]);
	run->errors = take_fd(&errors.fds[0]);
	(void)fcntl(run->in, F_SETFL, O_NONBLOCK);
	return 0;
}

int process_run(const struct process_spec *spec, const struct str *input, struct str *out,
		size_t limit, struct str *errors, uint64_t timeout_ms, struct error *err)
{
	static const struct str nothing = STR_INIT;
	cleanup_(close_run) struct run run = {
		.in = -1,
		.out = -1,
		.errors = -1,
		.input = input ? input : &nothing,
		.out_text = out,
		.error_text = errors,
		.room = limit,
		.error_room = ERROR_LIMIT,
	};
	uint64_t end = timeout_ms ? clock_ms() + timeout_ms : 0;
	struct error ignored = ERROR_INIT;
	int status, waited, r;
	pid_t pid;

	r = start_with_pipes(spec, &run, &pid, err);
	if (r < 0)
		return r;
	if (run.input->len == 0)
		close_end(&run.in);
	r = talk(&run, end, spec->argv[0], limit, err);
	if (r == 0)
		r = await_exit(pid, end, spec->argv[0], err);
	if (r < 0)
		(void)kill(pid, SIGKILL);
	waited = process_wait(pid, &status, r < 0 ? &ignored : err);
	if (r < 0)
		return r;
	return waited < 0 ? waited : status;
}
