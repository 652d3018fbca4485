/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The guest is stopped, which also writes all that its disks have in flight; then QEMU writes
 * its devices' state, and we the memory. From the moment at which the state has its name QEMU must
 * not execute the guest any more, so it is killed: nothing of it is needed. Before, whatever fails
 * lets the guest go on as if nothing had been.
 */

#include "run/suspend.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "machine/migrate.h"
#include "machine/plug.h"
#include "machine/qmp.h"
#include "run/caretaker.h"
#include "run/run.h"
#include "run/session.h"
#include "store/state.h"

enum { CALL_MS = 20000, STOP_MS = 120000, UNMOUNT_MS = 20000 };

/* What the guest wrote is as durable as its state is, whatever its disk's caching. */
static int sync_disks(const struct session *session, struct error *err)
{
	auto_fd top = disk_open_file(&session->vm, session->chain.layers[0].file, O_RDONLY, err);
	int r = 0;

	if (top < 0)
		return top;
	if (fsync(top) < 0)
		r = error_errno(err, "cannot sync the disk");
	for (size_t i = 0; r == 0 && i < session->extra_count; i++)
		r = disk_extra_sync(&session->extras[i], err);
	return r;
}

static int describe(struct session *session, struct state *state, struct error *err)
{
	int r = session_describe(session, state, err);

	if (r == 0)
		r = state_find_disk(&session->vm, &session->chain, &state->disk, err);
	if (session->network.card_count && session->network.cards[0].leased)
		state->address = session->network.cards[0].address;
	return r;
}

/* A state without its open connections is better than none. */
static void keep_network(struct session *session)
{
	struct error why = ERROR_INIT;

	if (caretaker_start(&session->network, &session->vm, &why) < 0)
		(void)printf("open connections will not go on: %s\n", why.text);
}

/* The guest is stopped. */
static int write_state(struct session *session, const struct state_files *files, struct error *err)
{
	auto_state state = STATE_INIT;
	int r = migrate_save(session->qmp, files->device, err);

	if (r == 0)
		r = fs_copy_sparse(session->memory, files->memory, err);
	if (r == 0)
		r = sync_disks(session, err);
	if (r == 0)
		r = describe(session, &state, err);
	if (r < 0)
		return r;
	keep_network(session);
	r = state_publish(&session->vm, files, &state, err);
	if (r < 0)
		caretaker_dismiss(&session->network);
	return r;
}

/* What was plugged out: the first folders, and after them the clipboard. */
struct unplugged {
	size_t folders;
	bool clipboard;
};

/* What no state can have in it. An error leaves some of it in its place; @out tells what not. */
static int unplug(struct session *session, struct unplugged *out, struct error *err)
{
	int r = 0;

	while (r == 0 && out->folders < session->folders.count) {
		r = plug_folder_out(session->qmp, out->folders, err);
		out->folders += r == 0;
	}
	if (r == 0 && session->plan.clipboard) {
		r = plug_clipboard_out(session->qmp, err);
		out->clipboard = r == 0;
	}
	return r;
}

/* As before, or what is wrong ends the run: nobody can say what a guest does that is half gone. */
static void go_on(struct session *session, const struct unplugged *out)
{
	struct error err = ERROR_INIT;
	int r = qmp_call(session->qmp, "cont", NULL, -1, CALL_MS, NULL, &err);

	if (r == 0 && out->folders)
		r = folders_restart(&session->folders, out->folders, session->options->dirs,
				    &session->identity, &err);
	if (r == 0)
		r = session_plug_in(session, out->folders, out->clipboard, &err);
	if (r < 0)
		session_fail(session, err.text);
}

static int save_unplugged(struct session *session, const struct state_files *files,
			  struct error *err)
{
	int r = qmp_call(session->qmp, "stop", NULL, -1, STOP_MS, NULL, err);

	if (r < 0)
		return r;
	(void)puts("creating a snapshot...");
	return write_state(session, files, err);
}

static int save(struct session *session, struct error *err)
{
	auto_state_files files = STATE_FILES_INIT;
	struct unplugged out = { 0 };
	int r = state_begin(&session->vm, &files, err);

	if (r < 0)
		return r;
	r = unplug(session, &out, err);
	if (r == 0)
		r = save_unplugged(session, &files, err);
	if (r == 0)
		return 0;
	state_abandon(&session->vm);
	go_on(session, &out);
	return r;
}

static void suspend(struct session *session)
{
	struct error err = ERROR_INIT;

	if (session->end != END_NOT_YET || session->guest_shut_down)
		return;
	/* nobody tells the guest to go on now */
	(void)uv_timer_stop(&session->room_timer);
	if (save(session, &err) < 0) {
		(void)printf("Failed to suspend the VM: %s\n", err.text);
		return;
	}
	(void)puts("snapshot created successfully! shutting down the VM...");
	session->end = END_BY_SUSPEND;
	(void)kill(session->qemu, SIGKILL);
}

/* --- the guest's folders --- */

static const char *const unmount[] = { "sudo", "-n", "umount", "-a", "-l", "-t", "virtiofs", NULL };

static void on_left(struct session *session, bool done)
{
	/* what it still has open there fails, as on a disk that is pulled out */
	(void)done;
	suspend(session);
}

void suspend_start(struct session *session)
{
	struct errand *errand = &session->leaving;
	struct error ignored = ERROR_INIT;

	if (session->end != END_NOT_YET || session->guest_shut_down || errand->pid)
		return;
	(void)puts("pausing VM to take a snapshot...");
	errand->session = session;
	errand->on_end = on_left;
	if (!session->folders.count || !session->runtime.agent_ready ||
	    errand_start(errand, unmount, UNMOUNT_MS, &ignored) < 0)
		suspend(session);
}
