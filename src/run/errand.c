/* SPDX-License-Identifier: Apache-2.0 */
#include "run/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/client.h"
#include "base/error.h"
#include "base/process.h"
#include "run/session.h"
#include "store/manage.h"

/* --- the child --- */

static int be_client(const struct vm *vm, const char *const *argv, unsigned limit_ms)
{
	const struct client_exec how = { .argv = argv, .interactive = true, .answer_ms = limit_ms };
	struct error ignored = ERROR_INIT;
	int fd = vm_socket_connect(vm, "control.sock", &ignored);
	int r = fd < 0 ? fd : client_exec(fd, &how, &ignored);

	return r == 0 ? 0 : 1;
}

/* Nothing else of what `run` has open, which the guest's bytes are no company for: not QEMU's
 * control, and not the other end of its own standard input, which would never end. */
static void keep_only(int dir)
{
	if (dir > 3)
		(void)close_range(3, (unsigned)dir - 1, 0);
	(void)close_range(dir < 3 ? 3 : (unsigned)dir + 1, ~0U, 0);
}

/* What it has of `run`'s signals, and the terminal's, is none of its business. */
static void leave_parent(pid_t parent, int input, int output)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	process_default_signals();
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || null < 0 ||
	    dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0)
		_exit(1);
}

/* --- the parent --- */

static void close_end(int *fd)
{
	cleanup_close_(fd);
	*fd = -1;
}

static void on_closed(uv_handle_t *handle)
{
	struct errand *errand = handle->data;

	errand->handles--;
}

static void close_handles(struct errand *errand)
{
	uv_close((uv_handle_t *)&errand->limit, on_closed);
	uv_close((uv_handle_t *)&errand->end_poll, on_closed);
	uv_close((uv_handle_t *)&errand->output_poll, on_closed);
}

static void on_end(uv_poll_t *poll, int status, int events)
{
	struct errand *errand = poll->data;
	int raw = 0;

	(void)status;
	(void)events;
	if (waitpid(errand->pid, &raw, WNOHANG) == 0)
		return;
	errand->pid = 0;
	close_handles(errand);
	close_end(&errand->pidfd);
	close_end(&errand->input);
	close_end(&errand->output);
	errand->on_end(errand->session, WIFEXITED(raw) && WEXITSTATUS(raw) == 0);
}

static void on_output(uv_poll_t *poll, int status, int events)
{
	struct errand *errand = poll->data;
	char bytes[4096];

	(void)status;
	(void)events;
	if (errand->on_output && read(errand->output, bytes, sizeof(bytes)) > 0)
		errand->on_output(errand);
	else
		(void)uv_poll_stop(poll);
}

static void on_limit(uv_timer_t *timer)
{
	const struct errand *errand = timer->data;

	(void)kill(errand->pid, SIGKILL);
}

static int watch(struct errand *errand, unsigned limit_ms, struct error *err)
{
	uv_loop_t *loop = &errand->session->loop;

	errand->limit.data = errand->end_poll.data = errand->output_poll.data = errand;
	/* these fail only for what cannot be polled */
	if (uv_timer_init(loop, &errand->limit) != 0 ||
	    uv_poll_init(loop, &errand->end_poll, errand->pidfd) != 0 ||
	    uv_poll_init(loop, &errand->output_poll, errand->output) != 0)
		return error_set(err, E_FAILED, "cannot watch a descriptor");
	errand->handles = 3;
	(void)uv_timer_start(&errand->limit, on_limit, limit_ms, 0);
	(void)uv_poll_start(&errand->end_poll, UV_READABLE, on_end);
	(void)uv_poll_start(&errand->output_poll, UV_READABLE, on_output);
	return 0;
}

static int start_child(struct errand *errand, const char *const *argv, unsigned limit_ms, int input,
		       int output, struct error *err)
{
	pid_t parent = getpid(), pid = process_fork();

	if (pid < 0)
		return error_errno(err, "cannot start a process");
	if (pid == 0) {
		leave_parent(parent, input, output);
		keep_only(errand->session->vm.dir);
		_exit(be_client(&errand->session->vm, argv, limit_ms));
	}
	errand->pid = pid;
	errand->pidfd = pidfd_open(pid, 0);
	return errand->pidfd < 0 ? error_errno(err, "cannot watch a process") : 0;
}

int errand_start(struct errand *errand, const char *const *argv, unsigned limit_ms,
		 struct error *err)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	int r;

	if (errand->pid || errand->handles)
		return error_set(err, EBUSY, "the guest is still busy with the last request");
	if (pipe2(in, O_CLOEXEC) < 0)
		return error_errno(err, "cannot make a pipe");
	errand->input = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		r = error_errno(err, "cannot make a pipe");
	else
		r = start_child(errand, argv, limit_ms, in[0], out[1], err);
	errand->output = out[0];
	cleanup_close_(&in[0]);
	cleanup_close_(&out[1]);
	if (r == 0)
		r = watch(errand, limit_ms, err);
	if (r < 0)
		errand_release(errand);
	return r;
}

void errand_tell(struct errand *errand, const char *text)
{
	/* every verb ignores SIGPIPE: a child that has gone is noticed by its end */
	(void)!write(errand->input, text, strlen(text));
}

void errand_hang_up(struct errand *errand)
{
	(void)uv_poll_stop(&errand->output_poll);
	close_end(&errand->input);
}

void errand_release(struct errand *errand)
{
	if (errand->pid > 0) {
		(void)kill(errand->pid, SIGKILL);
		(void)waitpid(errand->pid, NULL, 0);
		errand->pid = 0;
	}
	close_end(&errand->pidfd);
	close_end(&errand->input);
	close_end(&errand->output);
}
