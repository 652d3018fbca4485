/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A command is the leader of a session of its own, so that its process group
 * has its pid. It is watched by a pidfd.
 *
 * When it has ended, what it wrote is in the pipes and must be told; what a
 * background process of it may write later need not be. So the bytes that are
 * in the pipes at that moment are still read however slow the client is,
 * then a short grace follows, and then the call ends even if a
 * daemon keeps the pipes open.
 *
 * A job whose client has gone (hung up) stays until the command has been
 * waited for.
 */

#include "agent/job.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agent/login.h"
#include "agent/loop.h"
#include "base/mem.h"
#include "base/str.h"

enum {
	READ_SIZE = 32768,
	GRACE_MS = 100, /* for what background processes still write */
	KILL_MS = 5000, /* from SIGHUP to SIGKILL */
	GRACES_MAX = 600, /* a minute */
	END_OF_TRANSMISSION = 4,
};

struct source {
	struct watch watch; /* fd -1: ended */
	struct job *job;
	enum proto_response_kind kind;
	size_t left; /* after the command's end: bytes that are still to be told */
};

struct job {
	struct loop *loop;
	struct login *login;
	const struct job_events *events;
	void *arg; /* NULL with events: hung up */
	struct login_waiter waiter;

	struct strings argv;
	struct strings env; /* that came with the command */
	char *workdir;
	bool interactive, tty, detach;
	struct proto_size size;

	pid_t pid; /* 0: not started or waited for */
	struct watch exit; /* pidfd */
	struct source out, err; /* a terminal is out */
	struct watch in; /* a terminal: a duplicate of out's */
	struct str input;
	bool input_ends;
	bool paused;
	bool telling; /* within events->output(): job_hangup() leaves the job to us */
	bool over; /* the command has ended */
	int code;
	unsigned graces;
	struct timer timer;
};

static void finish(struct job *job);

static void close_watch(struct job *job, struct watch *watch)
{
	if (watch->fd < 0)
		return;
	loop_watch(job->loop, watch, 0);
	(void)close(take_fd(&watch->fd));
}

static void job_free(struct job *job)
{
	login_cancel(job->login, &job->waiter);
	loop_timer_stop(job->loop, &job->timer);
	close_watch(job, &job->in);
	close_watch(job, &job->out.watch);
	close_watch(job, &job->err.watch);
	close_watch(job, &job->exit);
	strings_release(&job->argv);
	strings_release(&job->env);
	str_release(&job->input);
	free(job->workdir);
	free(job);
}

/* ---- output ---- */

/* Tell it, at which the client may go. Return: is the job still there? */
static bool tell(struct job *job, enum proto_response_kind kind, const void *bytes, size_t len)
{
	job->telling = true;
	job->events->output(job->arg, kind, bytes, len);
	job->telling = false;
	if (job->events || job->pid)
		return true;
	job_free(job);
	return false;
}

/* All is told that must be: give background processes their grace, or finish. */
static void check_over(struct job *job)
{
	bool open = job->out.watch.fd >= 0 || job->err.watch.fd >= 0;

	if (!job->over || job->out.left || job->err.left)
		return;
	if (!open)
		finish(job);
	else if (!job->timer.active)
		loop_timer(job->loop, &job->timer, GRACE_MS);
}

static void source_ended(struct source *source)
{
	close_watch(source->job, &source->watch);
	source->left = 0;
	check_over(source->job);
}

static void source_ready(struct watch *watch, uint32_t events unused_)
{
	struct source *source = (struct source *)((char *)watch - offsetof(struct source, watch));
	struct job *job = source->job;
	static char buffer[READ_SIZE];
	ssize_t n = read(watch->fd, buffer, sizeof(buffer));

	if (n < 0 && errno == EINTR)
		return;
	if (n < 0 && errno == EAGAIN) {
		source->left = 0;
		check_over(job);
		return;
	}
	if (n <= 0) { /* a terminal ends by EIO */
		source_ended(source);
		return;
	}
	source->left -= source->left < (size_t)n ? source->left : (size_t)n;
	if (tell(job, source->kind, buffer, (size_t)n))
		check_over(job);
}

static void watch_output(struct job *job)
{
	uint32_t events = job->paused ? 0 : EPOLLIN;

	if (job->out.watch.fd >= 0)
		loop_watch(job->loop, &job->out.watch, events);
	if (job->err.watch.fd >= 0)
		loop_watch(job->loop, &job->err.watch, events);
}

void job_pause(struct job *job, bool paused)
{
	if (paused == job->paused)
		return;
	job->paused = paused;
	watch_output(job);
}

/* ---- the end ---- */

static void finish(struct job *job)
{
	const struct job_events *events = job->events;
	void *arg = job->arg;
	int code = job->detach ? 0 : job->code;

	job_free(job);
	if (events)
		events->exited(arg, code);
}

static void note_left(struct job *job, struct source *source)
{
	int n = 0;

	if (source->watch.fd >= 0 && !job->tty && ioctl(source->watch.fd, FIONREAD, &n) == 0)
		source->left = (size_t)n;
}

static void wait_for_child(struct job *job)
{
	int status;

	if (waitpid(job->pid, &status, 0) == job->pid)
		job->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	job->pid = 0;
	job->over = true;
}

static void child_exited(struct watch *watch, uint32_t events unused_)
{
	struct job *job = (struct job *)((char *)watch - offsetof(struct job, exit));

	wait_for_child(job);
	close_watch(job, watch);
	close_watch(job, &job->in);
	loop_timer_stop(job->loop, &job->timer);
	if (!job->events) {
		job_free(job);
		return;
	}
	note_left(job, &job->out);
	note_left(job, &job->err);
	check_over(job);
}

/* A terminal cannot tell how much is in it: one grace after another while there is more. */
static bool has_more(struct job *job)
{
	struct pollfd p = { .fd = job->out.watch.fd, .events = POLLIN };

	if (!job->tty || job->graces++ > GRACES_MAX)
		return false;
	return job->paused || (poll(&p, 1, 0) > 0 && (p.revents & POLLIN));
}

/* The call is over at once, the command goes on and is waited for. */
static void finish_detached(struct job *job)
{
	const struct job_events *events = job->events;

	job->events = NULL;
	if (events)
		events->exited(job->arg, 0);
}

static void timer_fired(struct timer *timer)
{
	struct job *job = (struct job *)((char *)timer - offsetof(struct job, timer));

	if (job->detach && job->pid)
		finish_detached(job);
	else if (job->over && has_more(job))
		loop_timer(job->loop, timer, GRACE_MS);
	else if (job->over || !job->pid)
		finish(job);
	else
		(void)kill(-job->pid, SIGKILL); /* hung up on long ago */
}

void job_hangup(struct job *job)
{
	job->events = NULL;
	if (!job->pid) {
		if (!job->telling)
			job_free(job);
		return;
	}
	if (job->detach)
		return;
	close_watch(job, &job->in);
	close_watch(job, &job->out.watch);
	close_watch(job, &job->err.watch);
	if (kill(-job->pid, SIGHUP) < 0) /* not yet leader of its session */
		(void)kill(job->pid, SIGHUP);
	(void)kill(-job->pid, SIGCONT);
	loop_timer(job->loop, &job->timer, KILL_MS);
}

/* ---- input ---- */

static void take_input(struct job *job, size_t n)
{
	str_consume(&job->input, n);
	if (job->events)
		job->events->input_taken(job->arg);
}

/* Write what there is; what nobody reads is dropped. */
static void write_input(struct job *job)
{
	ssize_t n = 0;

	if (job->input.len)
		n = write(job->in.fd, job->input.ptr, job->input.len);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		close_watch(job, &job->in);
		n = (ssize_t)job->input.len;
	}
	if (n > 0)
		take_input(job, (size_t)n);
	if (job->in.fd < 0)
		return;
	if (!job->input.len && job->input_ends)
		close_watch(job, &job->in);
	else
		loop_watch(job->loop, &job->in, job->input.len ? EPOLLOUT : 0);
}

static void input_ready(struct watch *watch, uint32_t events unused_)
{
	write_input((struct job *)((char *)watch - offsetof(struct job, in)));
}

void job_input(struct job *job, const void *bytes, size_t len)
{
	static const char end = END_OF_TRANSMISSION;
	bool started = job->pid != 0;

	if (job->input_ends || (started && job->in.fd < 0) || job->over || !job->interactive)
		return;
	if (!len && job->tty)
		str_add(&job->input, &end, 1);
	else if (!len)
		job->input_ends = true;
	str_add(&job->input, bytes, len);
	if (started)
		write_input(job);
}

size_t job_input_pending(const struct job *job)
{
	return job->input.len;
}

void job_resize(struct job *job, struct proto_size size)
{
	struct winsize ws = { .ws_row = (unsigned short)size.rows,
			      .ws_col = (unsigned short)size.cols };

	job->size = size;
	if (job->tty && job->out.watch.fd >= 0)
		(void)ioctl(job->out.watch.fd, TIOCSWINSZ, &ws);
}

/* ---- the start ---- */

/* The child's ends. */
struct ends {
	int in, out, err;
};

static void close_ends(struct ends *ends)
{
	cleanup_close_(&ends->in);
	cleanup_close_(&ends->out);
	cleanup_close_(&ends->err);
}

/* A pipe whose end @ours (0: reading) stays here, non-blocking. Return: the other end. */
static int open_pipe(int ours, int *fd)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	(void)fcntl(fds[ours], F_SETFL, O_NONBLOCK);
	*fd = fds[ours];
	return fds[!ours];
}

static int open_pipes(struct job *job, struct ends *ends)
{
	if (job->interactive)
		ends->in = open_pipe(1, &job->in.fd);
	else
		ends->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (job->detach) {
		ends->out = open("/dev/null", O_WRONLY | O_CLOEXEC);
		ends->err = open("/dev/null", O_WRONLY | O_CLOEXEC);
	} else {
		ends->out = open_pipe(0, &job->out.watch.fd);
		ends->err = open_pipe(0, &job->err.watch.fd);
	}
	return ends->in < 0 || ends->out < 0 || ends->err < 0 ? -1 : 0;
}

static int open_terminal(struct job *job, struct ends *ends)
{
	const struct login_user *user = login_user(job->login);
	struct winsize ws = { .ws_row = (unsigned short)(job->size.rows ? job->size.rows : 24),
			      .ws_col = (unsigned short)(job->size.cols ? job->size.cols : 80) };
	int master, slave;

	if (openpty(&master, &slave, NULL, NULL, &ws) < 0)
		return -1;
	(void)fcntl(master, F_SETFD, FD_CLOEXEC);
	(void)fcntl(slave, F_SETFD, FD_CLOEXEC);
	(void)fcntl(master, F_SETFL, O_NONBLOCK);
	if (user->drop && fchown(slave, user->uid, (gid_t)-1) < 0)
		(void)fchmod(slave, 0600);
	job->out.watch.fd = master;
	job->in.fd = fcntl(master, F_DUPFD_CLOEXEC, 3);
	ends->in = slave;
	ends->out = fcntl(slave, F_DUPFD_CLOEXEC, 3);
	ends->err = fcntl(slave, F_DUPFD_CLOEXEC, 3);
	return job->in.fd < 0 || ends->out < 0 || ends->err < 0 ? -1 : 0;
}

static void default_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static noreturn_ void child_fail(const char *what, int error)
{
	(void)dprintf(2, "linzer-agent: cannot run '%s': %s\n", what, strerror(error));
	_exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

static void put_environment(struct job *job)
{
	const struct login_user *user = login_user(job->login);
	const struct strings *login = login_environment(job->login);
	char runtime[64], cwd[4096];
	struct stat st;

	(void)clearenv();
	for (size_t i = 0; i < login->len; i++)
		(void)putenv(login->items[i]);
	(void)snprintf(runtime, sizeof(runtime), "/run/user/%u", user->uid);
	if (stat(runtime, &st) == 0 && st.st_uid == user->uid)
		(void)setenv("XDG_RUNTIME_DIR", runtime, 0);
	if (job->tty)
		(void)setenv("TERM", "xterm", 0);
	if (getcwd(cwd, sizeof(cwd)))
		(void)setenv("PWD", cwd, 1);
	for (size_t i = 0; i < job->env.len; i++)
		(void)putenv(job->env.items[i]);
}

static noreturn_ void child(struct job *job, const struct ends *ends)
{
	const struct login_user *user = login_user(job->login);

	default_signals();
	(void)setsid();
	if (dup2(ends->in, 0) < 0 || dup2(ends->out, 1) < 0 || dup2(ends->err, 2) < 0)
		_exit(126);
	(void)close_range(3, ~0U, 0);
	if (job->tty)
		(void)ioctl(0, TIOCSCTTY, 0);
	if (login_become(user) < 0)
		child_fail(job->argv.items[0], errno);
	(void)umask(022);
	if (job->workdir) {
		if (chdir(job->workdir) < 0)
			child_fail(job->workdir, errno);
	} else if (chdir(user->home) < 0 && chdir("/") < 0) {
		child_fail(user->home, errno);
	}
	put_environment(job);
	(void)execvp(job->argv.items[0], job->argv.items);
	child_fail(job->argv.items[0], errno);
}

static int start(struct job *job)
{
	cleanup_(close_ends) struct ends ends = { -1, -1, -1 };

	if ((job->tty ? open_terminal(job, &ends) : open_pipes(job, &ends)) < 0)
		return -1;
	/* a descriptor of 0, 1 or 2 would be overwritten before it is used: main() has those open
	 */
	job->pid = fork();
	if (job->pid == 0)
		child(job, &ends);
	if (job->pid < 0) {
		job->pid = 0;
		return -1;
	}
	job->exit.fd = pidfd_open(job->pid, 0);
	return job->exit.fd < 0 ? -1 : 0;
}

static void start_failed(struct job *job, int error)
{
	auto_free char *text =
		str_format("linzer-agent: cannot start a process: %s\n", strerror(error));

	if (job->pid) {
		(void)kill(job->pid, SIGKILL);
		wait_for_child(job);
	}
	job->code = 126;
	job->detach = false; /* nothing goes on: the code counts */
	loop_timer(job->loop, &job->timer, 0);
	(void)tell(job, PROTO_RESPONSE_ERROR, text, strlen(text));
}

static void run(struct login_waiter *waiter)
{
	struct job *job = (struct job *)((char *)waiter - offsetof(struct job, waiter));

	if (start(job) < 0) {
		start_failed(job, errno);
		return;
	}
	loop_watch(job->loop, &job->exit, EPOLLIN);
	watch_output(job);
	if (job->tty && !job->interactive) { /* nothing to read, as from /dev/null */
		job->interactive = true;
		job_input(job, NULL, 0);
		job->interactive = false;
	}
	if (job->in.fd >= 0)
		write_input(job);
	if (job->detach)
		loop_timer(job->loop, &job->timer, 0);
}

static char *copy(struct slice s)
{
	char *text = xmalloc(s.len + 1);

	if (s.len)
		memcpy(text, s.ptr, s.len);
	text[s.len] = '\0';
	return text;
}

static void copy_command(struct job *job, const struct proto_command *command)
{
	strings_take(&job->argv, copy(command->name));
	for (size_t i = 0; i < command->args.len; i++)
		strings_take(&job->argv, copy(command->args.items[i]));
	strings_take(&job->argv, NULL);
	for (size_t i = 0; i + 1 < command->env.len; i += 2) {
		auto_free char *key = copy(command->env.items[i]);
		auto_free char *value = copy(command->env.items[i + 1]);

		strings_addf(&job->env, "%s=%s", key, value);
	}
	if (command->workdir.len)
		job->workdir = copy(command->workdir);
	job->detach = command->detach;
	job->interactive = command->interactive && !command->detach;
	job->tty = command->tty && !command->detach;
	job->size = command->size;
}

struct job *job_start(struct loop *loop, struct login *login, const struct proto_command *command,
		      const struct job_events *events, void *arg)
{
	struct job *job = xcalloc(1, sizeof(*job));

	job->loop = loop;
	job->login = login;
	job->events = events;
	job->arg = arg;
	job->waiter.ready = run;
	job->argv = job->env = (struct strings)VEC_INIT;
	job->input = (struct str)STR_INIT;
	job->exit = (struct watch){ .fd = -1, .ready = child_exited };
	job->in = (struct watch){ .fd = -1, .ready = input_ready };
	job->out = (struct source){
		{ .fd = -1, .ready = source_ready }, job, PROTO_RESPONSE_OUTPUT, 0
	};
	job->err = (struct source){
		{ .fd = -1, .ready = source_ready }, job, PROTO_RESPONSE_ERROR, 0
	};
	job->timer.fire = timer_fired;
	copy_command(job, command);
	login_wait(login, &job->waiter);
	return job;
}
