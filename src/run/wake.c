/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A guest's kernel counts on from the time at which it was suspended. Its login user may become
 * root in every image that Tart's conventions hold for, so date(1) does it: first it becomes root,
 * which may take a while, then it says so and is told the time. It says when that is done, and so
 * how late the clock may be by the way of what it was told; where host or guest is busy, it is told
 * again. Its folders come after that, so that they do not delay it.
 */

#include "run/wake.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "run/detach.h"
#include "run/mounts.h"
#include "run/run.h"
#include "run/session.h"
#include "run/suspend.h"

enum { CLOCK_MS = 60000, CLOCK_TURNS = 5, CLOCK_NEAR_MS = 800, MOUNTS_MS = 60000 };

/* busybox has whole seconds only */
static const char set_clock[] = "while echo && read -r now; do\n"
				"	date -u -s \"@$now\" >/dev/null 2>&1 || date -u -s "
				"\"@${now%.*}\" >/dev/null || exit\n"
				"done";
static const char *const set_clock_as_root[] = { "sudo", "-n", "sh", "-c", set_clock, NULL };

/* Return: is it the end of it? */
static bool is_given_up(struct session *session)
{
	if (session->end != END_NOT_YET)
		return true;
	if (!session->suspending.wanted)
		return false;
	suspend_start(session);
	return true;
}

static void on_mounted(struct session *session, bool done)
{
	if (is_given_up(session))
		return;
	if (!done)
		(void)fputs("the guest has not mounted its shared folders again\n", stderr);
	if (session->options->wait_ready)
		detach_ready(&session->status_pipe);
}

void wake_folders(struct session *session)
{
	struct error err = ERROR_INIT;
	struct errand *errand = &session->mounting;

	errand->session = session;
	errand->on_end = on_mounted;
	if (!session->folders.count) {
		on_mounted(session, /* done= */ true);
	} else if (errand_start(errand, mounts_return, MOUNTS_MS, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		on_mounted(session, /* done= */ false);
	}
}

static void on_clock(struct session *session, bool done)
{
	if (is_given_up(session))
		return;
	if (!done)
		(void)fputs(
			"the guest's clock could not be set: it is late by as long as the VM was "
			"suspended\n",
			stderr);
	wake_folders(session);
}

static void tell_time(struct errand *errand)
{
	auto_free char *text = NULL;
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	text = str_format("%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
	errand_tell(errand, text);
}

/* It waits for the time: for the first, or because it has set the last one. */
static void on_ready(struct errand *errand)
{
	struct session *session = errand->session;
	uint64_t now = clock_ms();
	bool near = session->clock_turns > 0 && now - session->clock_told < CLOCK_NEAR_MS;

	if (near || session->clock_turns == CLOCK_TURNS) {
		errand_hang_up(errand);
		return;
	}
	session->clock_turns++;
	session->clock_told = now;
	tell_time(errand);
}

void wake_guest(struct session *session)
{
	struct error err = ERROR_INIT;
	struct errand *errand = &session->waking;

	session->clock_turns = 0;
	errand->session = session;
	errand->on_output = on_ready;
	errand->on_end = on_clock;
	if (errand_start(errand, set_clock_as_root, CLOCK_MS, &err) == 0)
		return;
	(void)fprintf(stderr, "the guest's clock could not be set: %s\n", err.text);
	wake_folders(session);
}

bool wake_is_over(const struct session *session)
{
	return !session->waking.pid && !session->mounting.pid;
}

void wake_give_up(struct session *session)
{
	const struct errand *both[] = { &session->waking, &session->mounting };

	for (size_t i = 0; i < array_size(both); i++)
		if (both[i]->pid > 0)
			(void)kill(both[i]->pid, SIGKILL);
}
