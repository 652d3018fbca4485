/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * First the guest gives back what no state can have in it, for which it may take its time: the loop
 * goes on meanwhile. Then it is stopped, which also writes all that its disks have in flight; QEMU
 * writes its devices' state, and we the memory. From the moment at which the state has its name
 * QEMU must not execute the guest any more, so it is killed: nothing of it is needed. Before,
 * whatever fails lets the guest go on as if nothing had been. A guest that gives back only then
 * what it was asked for, which nothing takes back, gets it again.
 */

#include "run/suspend.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "machine/migrate.h"
#include "machine/plug.h"
#include "machine/qmp.h"
#include "run/caretaker.h"
#include "run/mounts.h"
#include "run/run.h"
#include "run/session.h"
#include "run/wake.h"
#include "store/state.h"

enum { CALL_MS = 20000, STOP_MS = 120000, UNMOUNT_MS = 20000, LEAVE_MS = 20000, TURN_MS = 5 };

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

/* It owes this folder to nobody. */
static void settle_folder(struct session *session, size_t i)
{
	session->suspending.owed[i] = session->suspending.gone[i] = false;
}

/* Fill in what is to be plugged out next. Return: is there anything? */
static bool next_part(const struct session *session, struct plug *part)
{
	const struct unplugged *out = &session->suspending.out;

	if (out->folders < session->folders.count)
		*part = plug_folder(out->folders);
	else if (session->plan.clipboard && !out->clipboard)
		*part = plug_clipboard();
	else
		return false;
	return true;
}

/* A folder may have gone meanwhile, of one that was asked for it in vain before. */
static int ask_for(struct session *session, const struct plug *part, struct error *err)
{
	struct suspending *suspending = &session->suspending;
	size_t i = suspending->out.folders;
	bool folder = i < session->folders.count;
	int r = folder && suspending->gone[i] ? 0 : plug_ask_out(session->qmp, part, err);

	if (r < 0)
		return r;
	if (folder)
		suspending->owed[i] = true;
	suspending->asked = true;
	suspending->deadline = clock_ms() + LEAVE_MS;
	return 0;
}

/* Ask for @part, once, and look whether it has come. Return: 1, 0 not yet, or error. */
static int plug_out(struct session *session, const struct plug *part, struct error *err)
{
	struct suspending *suspending = &session->suspending;
	int r = suspending->asked ? 0 : ask_for(session, part, err);

	if (r < 0)
		return r;
	r = plug_is_out(session->qmp, part, err);
	if (r == 0 && clock_ms() >= suspending->deadline)
		return error_set(err, EBUSY, "the guest does not give '%s' back", part->device);
	return r;
}

/* What no state can have in it. Return: 1 all of it is out, 0 not yet; or an error, which leaves
 * some of it in its place; .out tells what not. */
static int unplug(struct session *session, struct error *err)
{
	struct unplugged *out = &session->suspending.out;
	struct plug part;

	while (next_part(session, &part)) {
		int r = plug_out(session, &part, err);

		if (r <= 0)
			return r;
		session->suspending.asked = false;
		if (out->folders < session->folders.count)
			settle_folder(session, out->folders++);
		else
			out->clipboard = true;
	}
	return 1;
}

/* --- what comes back too late --- */

/* Return: 1 it is the guest's again, 0 QEMU is not done with it yet, or error. */
static int give_again(struct session *session, size_t i, struct error *err)
{
	const struct plug part = plug_folder(i);
	struct folder_share *share = &session->folders.shares[i];
	int r = plug_is_out(session->qmp, &part, err);

	if (r <= 0)
		return r;
	settle_folder(session, i);
	r = folders_restart(&session->folders, i, 1, session->options->dirs, &session->identity,
			    err);
	if (r == 0)
		r = plug_folder_in(session->qmp, i, share->tag, share->qemu, err);
	folders_handed(&session->folders);
	return r < 0 ? r : 1;
}

static void on_left_again(struct session *session, bool done)
{
	(void)done;
	wake_folders(session);
}

/* What it had mounted of the device that is gone is of no more use to it. */
static void mount_again(struct session *session)
{
	struct errand *errand = &session->leaving;
	struct error ignored = ERROR_INIT;

	if (errand->pid)
		return;
	errand->session = session;
	errand->on_end = on_left_again;
	(void)!errand_start(errand, mounts_leave, UNMOUNT_MS, &ignored);
}

static void on_late(uv_timer_t *timer)
{
	struct session *session = timer->data;
	const struct suspending *suspending = &session->suspending;
	bool given = false;

	if (session->end != END_NOT_YET || session->guest_shut_down || suspending->active)
		return;
	for (size_t i = 0; i < session->folders.count; i++) {
		struct error err = ERROR_INIT;
		int r = suspending->gone[i] ? give_again(session, i, &err) : 0;

		if (r < 0) {
			settle_folder(session, i);
			(void)printf("the folder '%s' is the guest's no more: %s\n",
				     session->folders.shares[i].tag, err.text);
		} else if (suspending->gone[i]) {
			(void)uv_timer_start(timer, on_late, TURN_MS, 0);
		}
		given |= r > 0;
	}
	if (given && session->runtime.agent_ready && wake_is_over(session))
		mount_again(session);
}

void suspend_hear(struct session *session, const char *event, const json_t *data)
{
	struct suspending *suspending = &session->suspending;
	size_t i = plug_folder_gone(event, data);

	if (i >= session->folders.count || !suspending->owed[i])
		return;
	suspending->gone[i] = true;
	/* else it is found gone, or when that is given up; not now: an event makes no calls */
	if (!suspending->active)
		(void)uv_timer_start(&suspending->timer, on_late, 0, 0);
}

/* As before, or what is wrong ends the run: nobody can say what a guest does that is half gone. */
static void go_on(struct session *session, const struct unplugged *out)
{
	struct error err = ERROR_INIT;
	int r = qmp_call(session->qmp, "cont", NULL, -1, CALL_MS, NULL, &err);

	if (r == 0 && out->folders)
		r = folders_restart(&session->folders, 0, out->folders, session->options->dirs,
				    &session->identity, &err);
	if (r == 0)
		r = session_plug_in(session, out->folders, out->clipboard, &err);
	if (r < 0) {
		session_fail(session, err.text);
		return;
	}
	(void)uv_timer_start(&session->suspending.timer, on_late, 0, 0);
	if (session->runtime.agent_ready)
		wake_folders(session);
}

static int save_unplugged(struct session *session, struct error *err)
{
	int r;

	/* nobody tells the guest to go on now */
	(void)uv_timer_stop(&session->room_timer);
	r = qmp_call(session->qmp, "stop", NULL, -1, STOP_MS, NULL, err);
	if (r < 0)
		return r;
	(void)puts("creating a snapshot...");
	return write_state(session, &session->suspending.files, err);
}

static void forget(struct session *session)
{
	state_abandon(&session->vm);
	state_files_release(&session->suspending.files);
	session->suspending.active = false;
}

static void give_up(struct session *session, const struct error *why)
{
	forget(session);
	/* it switched itself off meanwhile: so it ends as any that does */
	if (session->guest_shut_down)
		return;
	/* a QEMU that has gone is noticed, with its reason, by the loop */
	if (why->code != EPIPE && why->code != ECONNRESET)
		go_on(session, &session->suspending.out);
	(void)printf("Failed to suspend the VM: %s\n", why->text);
}

static void on_turn(uv_timer_t *timer)
{
	struct session *session = timer->data;
	struct error err = ERROR_INIT;
	int r;

	if (session->end != END_NOT_YET || session->guest_shut_down) {
		forget(session);
		return;
	}
	r = unplug(session, &err);
	if (r == 0) {
		(void)uv_timer_start(timer, on_turn, TURN_MS, 0);
		return;
	}
	if (r > 0)
		r = save_unplugged(session, &err);
	if (r < 0) {
		give_up(session, &err);
		return;
	}
	session->suspending.active = false;
	(void)puts("snapshot created successfully! shutting down the VM...");
	session->end = END_BY_SUSPEND;
	(void)kill(session->qemu, SIGKILL);
}

static void suspend(struct session *session)
{
	struct suspending *suspending = &session->suspending;
	struct error err = ERROR_INIT;

	if (session->end != END_NOT_YET || session->guest_shut_down)
		return;
	suspending->out = (struct unplugged){ 0 };
	suspending->asked = false;
	if (state_begin(&session->vm, &suspending->files, &err) < 0) {
		/* the guest has let go of its folders already */
		if (session->runtime.agent_ready)
			wake_folders(session);
		(void)printf("Failed to suspend the VM: %s\n", err.text);
		return;
	}
	suspending->active = true;
	on_turn(&suspending->timer);
}

void suspend_release(struct session *session)
{
	if (session->suspending.active)
		forget(session);
	state_files_release(&session->suspending.files);
}

/* --- the guest's folders --- */

static void on_left(struct session *session, bool done)
{
	/* what it still has open there fails, as on a disk that is pulled out */
	(void)done;
	suspend(session);
}

void suspend_start(struct session *session)
{
	struct suspending *suspending = &session->suspending;
	struct errand *errand = &session->leaving;
	struct error ignored = ERROR_INIT;

	if (session->end != END_NOT_YET || session->guest_shut_down || errand->pid ||
	    suspending->active)
		return;
	suspending->wanted = !wake_is_over(session);
	if (suspending->wanted) {
		wake_give_up(session);
		return;
	}
	(void)puts("pausing VM to take a snapshot...");
	errand->session = session;
	errand->on_end = on_left;
	if (!session->folders.count || !session->runtime.agent_ready ||
	    errand_start(errand, mounts_leave, UNMOUNT_MS, &ignored) < 0)
		suspend(session);
}
