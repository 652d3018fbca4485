/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_SUSPEND_H
#define RUN_SUSPEND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "machine/plan.h"
#include "store/state.h"

struct session;

/* What was plugged out: the first folders, and after them the clipboard. */
struct unplugged {
	size_t folders;
	bool clipboard;
};

/* A suspend that is under way, but waits for the guest, and the loop goes on. */
struct suspending {
	bool wanted; /* as soon as the guest is let alone (wake.h) */
	bool active;
	struct state_files files;
	struct unplugged out;
	bool asked; /* for the next part */
	/* of each folder: it was asked for, and has not come back; and it is gone by now */
	bool owed[PLAN_FOLDERS_MAX], gone[PLAN_FOLDERS_MAX];
	uint64_t deadline; /* for that (clock_ms) */
	uv_timer_t timer; /* until it is looked for again */
};
#define SUSPENDING_INIT                   \
	{                                 \
		.files = STATE_FILES_INIT \
	}

/* SIGUSR1: save the VM's state and end; or say on stdout why not, and it goes on. */
void suspend_start(struct session *session);
/* An event of QEMU's: a folder that the guest was asked for, too long ago, may go now. It is given
 * back to it. */
void suspend_hear(struct session *session, const char *event, const json_t *data);
/* The run ends: what was saved of a state that did not come about is removed. */
void suspend_release(struct session *session);

#endif
