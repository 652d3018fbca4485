/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Nothing here waits for QEMU, which may be its guest's by now: commands are posted. Only a
 * freeze (freeze.c) and a suspend (suspend.c) have to wait, and bound it.
 *
 * One libuv loop watches: our signals, QMP, QEMU's pidfd, the pipe of its
 * stderr, virtiofsd's end, the network keepers' sockets, the console, manage.sock, and (inside the
 * relay) the agent's port and control.sock. The loop ends when QEMU has
 * ended; everything else only asks it to:
 *
 *   SIGINT, SIGTERM, SIGHUP   QMP quit (QEMU flushes its disks), and SIGKILL
 *                             QUIT_MS later or at a second signal
 *   SIGUSR1                   save the state (suspend.c), which waits for QEMU
 *   SIGUSR2                   ACPI power button, some times; the guest decides
 *   a keeper is gone          as SIGINT, but the run has failed: a VM is never
 *                             left with a tap whose filter nobody keeps
 *
 * A reboot of the guest is no end. Which message and status an end has is
 * contract 7.8, with section 12's fix 5.
 */

#include "run/session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/dial.h"
#include "agent/relay.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "machine/qmp.h"
#include "run/detach.h"
#include "run/net_options.h"
#include "run/run.h"
#include "run/suspend.h"
#include "run/vsock.h"
#include "run/wake.h"
#include "store/manage.h"

enum {
	QUIT_MS = 5000,
	PRESS_MS = 5000,
	PRESSES_MAX = 12,
	ROOM_MS = 2000,
	TELL_MS = 60000,
	RUNTIME_MS = 500
};

static void fail(struct session *session, const char *why)
{
	if (session->end != END_NOT_YET)
		return;
	session->end = END_BY_FAILURE;
	(void)error_set(&session->failure, E_FAILED, "%s", why);
}

static void kill_qemu(struct session *session)
{
	if (session->qemu > 0)
		(void)kill(session->qemu, SIGKILL);
}

void session_fail(struct session *session, const char *why)
{
	fail(session, why);
	kill_qemu(session);
}

static void on_kill_timer(uv_timer_t *timer)
{
	kill_qemu(timer->data);
}

/* Ask QEMU to end; what has not ended by then is killed. */
static void quit(struct session *session)
{
	struct error ignored = ERROR_INIT;

	if (session->quit_sent) {
		kill_qemu(session);
		return;
	}
	session->quit_sent = true;
	(void)uv_timer_start(&session->kill_timer, on_kill_timer, QUIT_MS, 0);
	if (qmp_post(session->qmp, "quit", &ignored) < 0)
		kill_qemu(session);
}

/*
 * A press that comes before the guest's listener is up (a boot takes a while)
 * is lost, so it is repeated; a guest on its way down does not mind.
 */
static void press_power_button(uv_timer_t *timer)
{
	struct session *session = timer->data;
	struct error err = ERROR_INIT;

	if (qmp_post(session->qmp, "system_powerdown", &err) < 0)
		(void)fprintf(stderr, "cannot request the guest to stop: %s\n", err.text);
	if (++session->presses >= PRESSES_MAX)
		(void)uv_timer_stop(timer);
}

static void request_stop(struct session *session)
{
	(void)puts("Requesting guest OS to stop...");
	session->presses = 0;
	(void)uv_timer_start(&session->power_timer, press_power_button, 0, PRESS_MS);
}

static void end_by_user(struct session *session)
{
	if (session->end != END_NOT_YET)
		return;
	session->end = END_BY_USER;
	(void)puts("Stopping VM...");
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct session *session = handle->data;

	switch (number) {
	case SIGUSR1:
		suspend_start(session);
		break;
	case SIGUSR2:
		request_stop(session);
		break;
	default:
		end_by_user(session);
		quit(session);
	}
}

static void on_room_timer(uv_timer_t *timer)
{
	struct session *session = timer->data;
	struct error ignored = ERROR_INIT;

	(void)!qmp_post(session->qmp, "cont", &ignored);
}

/*
 * The host's disk is full: QEMU paused the guest, which loses nothing if it is resumed. That is
 * tried again and again, but told now and then.
 */
static void on_full_disk(struct session *session)
{
	uint64_t now = clock_ms();

	if (uv_is_active((const uv_handle_t *)&session->room_timer))
		return;
	if (!session->full_told || now - session->full_told >= TELL_MS) {
		session->full_told = now;
		(void)fputs("no space is left for the VM's disk: it is paused until there is\n",
			    stderr);
	}
	(void)uv_timer_start(&session->room_timer, on_room_timer, ROOM_MS, 0);
}

/* Somebody closed it: that is what a signal is, except that QEMU ends by itself, or is killed. Its
 * GTK window gives a quit by QMP as the reason, which nobody else has asked for. */
static void on_closed_window(struct session *session, const char *reason)
{
	if (session->plan.window == WINDOW_NONE || !reason)
		return;
	if (strcmp(reason, "host-ui") != 0 && strcmp(reason, "host-qmp-quit") != 0)
		return;
	end_by_user(session);
	if (!session->quit_sent)
		(void)uv_timer_start(&session->kill_timer, on_kill_timer, QUIT_MS, 0);
}

void session_on_event(void *arg, const char *event, const json_t *data)
{
	struct session *session = arg;
	bool by_guest = json_is_true(json_object_get(data, "guest"));

	if (strcmp(event, "SHUTDOWN") == 0 && by_guest)
		session->guest_shut_down = true;
	if (strcmp(event, "SHUTDOWN") == 0)
		on_closed_window(session, json_string_value(json_object_get(data, "reason")));
	suspend_hear(session, event, data);
	if (strcmp(event, "BLOCK_IO_ERROR") == 0 && json_is_true(json_object_get(data, "nospace")))
		on_full_disk(session);
}

static void on_qmp(uv_poll_t *poll, int status, int events)
{
	struct session *session = poll->data;
	struct error ignored = ERROR_INIT;

	(void)events;
	/* its end is QEMU's, which the pidfd tells; rubbish is a QEMU gone mad */
	if (status < 0 || qmp_process(session->qmp, &ignored) < 0) {
		(void)uv_poll_stop(poll);
		if (status == 0 && ignored.code == E_PROTOCOL)
			kill_qemu(session);
	}
}

void session_keep_error(struct session *session, const char *text, size_t len)
{
	size_t start;

	while (len && text[len - 1] == '\n')
		len--;
	for (start = len; start && text[start - 1] != '\n'; start--)
		;
	/* the end of a long line says what is wrong */
	if (len - start >= sizeof(session->last_error))
		start = len - sizeof(session->last_error) + 1;
	if (len > start)
		(void)snprintf(session->last_error, sizeof(session->last_error), "%.*s",
			       (int)(len - start), text + start);
}

static void on_qemu_errors(uv_poll_t *poll, int status, int events)
{
	struct session *session = poll->data;
	char text[4096];
	ssize_t n = status < 0 ? 0 : read(session->qemu_errors, text, sizeof(text));

	(void)events;
	if (n > 0)
		session_keep_error(session, text, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		(void)uv_poll_stop(poll);
}

static void on_runtime_timer(uv_timer_t *timer);

/* At once, but not more often than RUNTIME_MS: an agent can come and go as fast as it likes. */
static void write_runtime(struct session *session)
{
	struct error err = ERROR_INIT;

	session->runtime_changed = uv_is_active((const uv_handle_t *)&session->runtime_timer);
	if (session->runtime_changed)
		return;
	(void)uv_timer_start(&session->runtime_timer, on_runtime_timer, RUNTIME_MS, 0);
	if (runtime_write(&session->vm, &session->runtime, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.text);
}

static void on_runtime_timer(uv_timer_t *timer)
{
	struct session *session = timer->data;

	if (session->runtime_changed)
		write_runtime(session);
}

static void on_keeper_gone(void *arg)
{
	struct session *session = arg;

	/* each card may say so, but quit() is meant once */
	if (session->failure.code)
		return;
	fail(session, "the network helper ended");
	quit(session);
}

/* What hangs in the guest then is its own; the VM goes on. */
static void on_folders_gone(void *arg, const char *why)
{
	const struct session *session = arg;

	if (session->end == END_NOT_YET && !session->guest_shut_down && !session->suspending.active)
		(void)fprintf(stderr, "%s\n", why);
}

static void on_leased(void *arg, const struct network_card *card)
{
	session_show_card(arg, card);
	desk_on_address(arg, card->address);
	write_runtime(arg);
}

static void on_agent(void *arg, enum relay_event event)
{
	struct session *session = arg;

	session->runtime.agent_ready = event == RELAY_READY;
	write_runtime(session);
	if (event == RELAY_READY && session->resume.done) {
		session->resume.done = false;
		wake_guest(session);
	}
	if (event == RELAY_READY && session->options->wait_ready && wake_is_over(session))
		detach_ready(&session->status_pipe);
}

static void judge_end(struct session *session, int raw)
{
	char why[64];

	if (session->end != END_NOT_YET)
		return;
	if (session->guest_shut_down && WIFEXITED(raw) && WEXITSTATUS(raw) == 0) {
		session->end = END_BY_GUEST;
		return;
	}
	if (WIFSIGNALED(raw))
		(void)snprintf(why, sizeof(why), "QEMU was killed by signal %d", WTERMSIG(raw));
	else
		(void)snprintf(why, sizeof(why), "QEMU ended with status %d", WEXITSTATUS(raw));
	fail(session, session->last_error[0] ? session->last_error : why);
}

static void on_qemu_end(uv_poll_t *poll, int status, int events)
{
	struct session *session = poll->data;
	struct error ignored = ERROR_INIT;
	int raw = 0;

	(void)status;
	(void)events;
	if (waitpid(session->qemu, &raw, WNOHANG) == 0)
		return;
	session->qemu = 0;
	/* events that came just before the end */
	(void)!qmp_process(session->qmp, &ignored);
	on_qemu_errors(&session->errors_poll, 0, 0);
	judge_end(session, raw);
	uv_stop(&session->loop);
}

static int watch(struct session *session, uv_poll_t *poll, int fd, uv_poll_cb on_ready,
		 struct error *err)
{
	poll->data = session;
	if (uv_poll_init(&session->loop, poll, fd) != 0 ||
	    uv_poll_start(poll, UV_READABLE, on_ready) != 0)
		return error_set(err, E_FAILED, "cannot watch a descriptor");
	return 0;
}

static int watch_all(struct session *session, struct error *err)
{
	int r = watch(session, &session->qmp_poll, qmp_fd(session->qmp), on_qmp, err);

	if (r == 0)
		r = watch(session, &session->qemu_poll, session->qemu_pidfd, on_qemu_end, err);
	if (r == 0)
		r = watch(session, &session->errors_poll, session->qemu_errors, on_qemu_errors,
			  err);
	return r;
}

static int open_sockets(struct session *session, struct error *err)
{
	auto_fd control = vm_socket_listen(&session->vm, "control.sock", err);
	struct dial_address stock;
	int manage, r;

	if (control < 0)
		return control;
	vsock_agent_address(session->plan.vsock_cid, &stock);
	r = relay_new(&session->loop, take_fd(&session->guest_agent), take_fd(&control), &stock,
		      on_agent, session, &session->relay, err);
	if (r < 0)
		return r;
	manage = manage_listen(&session->vm, err);
	if (manage < 0)
		return manage;
	return requests_start(&session->requests, session, &session->loop, manage, err);
}

static int open_services(struct session *session, struct error *err)
{
	const struct network_events events = { on_leased, on_keeper_gone, session };
	int control = session->options->network->control;
	int r = open_sockets(session, err);

	if (r == 0)
		r = watch_all(session, err);
	if (r == 0)
		r = network_watch(&session->network, &session->loop, &events, err);
	if (r == 0)
		r = folders_watch(&session->folders, &session->loop, on_folders_gone, session, err);
	if (r == 0 && control >= 0)
		r = control_socket_start(&session->net_control, &session->loop, &session->network,
					 control, err);
	return r;
}

static const int signal_numbers[SESSION_SIGNALS] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 };

/* From here on, signals are the loop's. What nohup ignores stays ignored. */
static void watch_signals(struct session *session)
{
	for (size_t i = 0; i < SESSION_SIGNALS; i++) {
		struct sigaction old;

		if (signal_numbers[i] == SIGHUP && sigaction(SIGHUP, NULL, &old) == 0 &&
		    old.sa_handler == SIG_IGN)
			continue;
		(void)uv_signal_start(&session->signals[i], on_signal, signal_numbers[i]);
	}
}

/* Return: the exit status. */
static int report_end(const struct session *session)
{
	switch (session->end) {
	case END_BY_GUEST:
		(void)puts("guest has stopped the virtual machine");
		return 0;
	case END_BY_FAILURE:
		(void)printf("guest has stopped the virtual machine due to error: %s\n",
			     session->failure.text);
		(void)fprintf(stderr, "%s\n", session->failure.text);
		return 1;
	case END_NOT_YET:
	case END_BY_SUSPEND:
	case END_BY_USER:
	default:
		return 0;
	}
}

int session_supervise(struct session *session, struct error *err)
{
	int r;

	watch_signals(session);
	r = open_services(session, err);
	if (r == 0)
		r = runtime_write(&session->vm, &session->runtime, err);
	if (r < 0)
		return r;
	cleanup_close_(&session->vm_lock);
	session->vm_lock = -1;
	desk_announce(session);
	if (!session->options->wait_ready)
		detach_ready(&session->status_pipe);
	(void)uv_run(&session->loop, UV_RUN_DEFAULT);
	return report_end(session);
}
