/* SPDX-License-Identifier: Apache-2.0 */
#include "run/session.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/relay.h"
#include "base/error.h"
#include "base/fs.h"
#include "machine/qmp.h"
#include "run/dir_archive.h"
#include "run/run.h"
#include "run/signals.h"
#include "run/suspend.h"

static void init_timer(struct session *session, uv_timer_t *timer)
{
	(void)uv_timer_init(&session->loop, timer);
	timer->data = session;
}

int run_session_init(struct session *session, struct error *err)
{
	*session = (struct session){
		.vm = VM_INIT,
		.config = CONFIG_INIT,
		.running_lock = -1,
		.vm_lock = -1,
		.identity = IDENTITY_INIT,
		.resume = RESUME_INIT,
		.waking = ERRAND_INIT,
		.mounting = ERRAND_INIT,
		.leaving = ERRAND_INIT,
		.suspending = SUSPENDING_INIT,
		.parts = VEC_INIT,
		.memory = -1,
		.folders = FOLDERS_INIT,
		.network = NETWORK_INIT,
		.qemu_pidfd = -1,
		.qemu_errors = -1,
		.guest_agent = -1,
		.console = CONSOLE_INIT,
		.requests = REQUESTS_INIT,
		.net_control = CONTROL_SOCKET_INIT,
		.desk = DESK_INIT,
		.status_pipe = -1,
		.top_node = "disk0",
	};
	for (size_t i = 0; i < array_size(session->root_fds); i++)
		session->root_fds[i] = -1;
	if (uv_loop_init(&session->loop) != 0)
		return error_set(err, E_FAILED, "cannot make an event loop");
	init_timer(session, &session->kill_timer);
	init_timer(session, &session->power_timer);
	init_timer(session, &session->room_timer);
	init_timer(session, &session->runtime_timer);
	init_timer(session, &session->link_timer);
	init_timer(session, &session->desk.timer);
	init_timer(session, &session->suspending.timer);
	for (size_t i = 0; i < SESSION_SIGNALS; i++) {
		(void)uv_signal_init(&session->loop, &session->signals[i]);
		session->signals[i].data = session;
	}
	signals_hear();
	return 0;
}

/*
 * Remove what only a running VM has and then, last, put what `set` wrote meanwhile in place: the
 * new config.json is another inode, which nobody has locked, so the next `run` may begin.
 */
static void tidy_directory(struct session *session)
{
	struct error err = ERROR_INIT;

	if (session->running_lock < 0)
		return;
	(void)unlinkat(session->vm.dir, "control.sock", 0);
	(void)unlinkat(session->vm.dir, "manage.sock", 0);
	runtime_remove(&session->vm);
	if (vm_adopt_config(&session->vm, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.text);
}

static void end_qemu(struct session *session)
{
	if (session->qemu <= 0)
		return;
	(void)kill(session->qemu, SIGKILL);
	(void)waitpid(session->qemu, NULL, 0);
	session->qemu = 0;
}

static void close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void close_loop(struct session *session)
{
	relay_close(session->relay);
	uv_walk(&session->loop, close_handle, NULL);
	while (uv_loop_close(&session->loop) == UV_EBUSY)
		(void)uv_run(&session->loop, UV_RUN_ONCE);
}

void run_session_release(struct session *session)
{
	signals_hold();
	end_qemu(session);
	close_loop(session);
	console_release(&session->console);
	qmp_free(session->qmp);
	requests_release(&session->requests);
	control_socket_release(&session->net_control);
	desk_release(&session->desk);
	folders_stop(&session->folders);
	dir_archives_release(session->options->archives);
	errand_release(&session->waking);
	errand_release(&session->mounting);
	errand_release(&session->leaving);
	suspend_release(session);
	resume_release(&session->resume);
	strings_release(&session->parts);
	cleanup_close_(&session->memory);
	network_stop(&session->network);
	for (size_t i = 0; i < array_size(session->root_fds); i++)
		cleanup_close_(&session->root_fds[i]);
	session_close_extras(session);
	cleanup_close_(&session->qemu_pidfd);
	cleanup_close_(&session->qemu_errors);
	cleanup_close_(&session->guest_agent);
	identity_release(&session->identity);
	engine_release(&session->engine);
	config_release(&session->config);
	tidy_directory(session);
	cleanup_close_(&session->vm_lock);
	cleanup_close_(&session->running_lock);
	vm_release(&session->vm);
}
