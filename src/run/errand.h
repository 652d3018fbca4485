/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_ERRAND_H
#define RUN_ERRAND_H

/*
 * A command of ours in the guest, by its agent, while the VM goes on: a child of `run` is the
 * agent's client, as `exec` is. A guest without an agent, or one that does as it likes, costs no
 * more than the time-out.
 */

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#include "base/attr.h"

struct error;
struct session;

struct errand {
	struct session *session;
	pid_t pid; /* 0: none under way */
	int pidfd;
	int input; /* write end of its standard input; both owned, -1: none */
	int output; /* read end of its standard output */
	uv_poll_t end_poll, output_poll;
	uv_timer_t limit;
	unsigned handles; /* that are not closed yet */
	void (*on_output)(struct errand *errand); /* it has said something; NULL: never read */
	void (*on_end)(struct session *session, bool done); /* by itself, with status 0 */
};
#define ERRAND_INIT                                     \
	{                                               \
		.pidfd = -1, .input = -1, .output = -1, \
	}

/*
 * Start @argv in the guest, with at most @limit_ms; .session and the callbacks are set. EBUSY: the
 * last one has not ended.
 */
int errand_start(struct errand *errand, const char *const *argv, unsigned limit_ms,
		 struct error *err) must_use_;
/* To the command's standard input. */
void errand_tell(struct errand *errand, const char *text);
/* The command's standard input ends, and what it says from now on is not read. */
void errand_hang_up(struct errand *errand);
/* After the loop has closed its handles. */
void errand_release(struct errand *errand);

#endif
