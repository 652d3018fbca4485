/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A guest's kernel counts on from the time at which it was suspended. Its login user may become
 * root in every image that Tart's conventions hold for, so date(1) does it: first it becomes root,
 * which may take a while, then it says so and is told the time.
 */

#include "run/wake.h"

#include <stdio.h>
#include <time.h>

#include "base/error.h"
#include "base/str.h"
#include "run/session.h"

enum { LIMIT_MS = 60000 };

static const char *const set_clock[] = {
	"sudo", "-n", "sh", "-c", "echo; read -r now && exec date -u -s \"@$now\" >/dev/null", NULL
};

static void on_ready(struct errand *errand)
{
	auto_free char *text = NULL;
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	text = str_format("%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
	errand_tell(errand, text);
}

static void on_end(struct session *session, bool done)
{
	if (!done && session->end == END_NOT_YET)
		(void)fputs(
			"the guest's clock could not be set: it is late by as long as the VM was "
			"suspended\n",
			stderr);
}

void wake_guest(struct session *session)
{
	struct error err = ERROR_INIT;
	struct errand *errand = &session->waking;

	errand->session = session;
	errand->on_output = on_ready;
	errand->on_end = on_end;
	if (errand_start(errand, set_clock, LIMIT_MS, &err) < 0)
		(void)fprintf(stderr, "the guest's clock could not be set: %s\n", err.text);
}
