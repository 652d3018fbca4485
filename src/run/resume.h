/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_RESUME_H
#define RUN_RESUME_H

/*
 * A VM that was suspended goes on. It is bound to what it was saved with; where that is not so any
 * more, the run fails and the state stays.
 */

#include <pthread.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/error.h"
#include "store/state.h"

struct launch_plan;
struct session;

struct resume {
	bool active; /* there is a state, and it has not been consumed yet */
	struct state state;
	struct state_files files;
	pthread_t copier; /* while .copying: puts the guest's memory in place */
	bool copying;
	bool done; /* the guest goes on, and has not been told yet */
	int memory; /* that it is copied to, borrowed */
	struct error error; /* of the copy; .code 0: none */
};
#define RESUME_INIT                                                          \
	{                                                                    \
		.state = STATE_INIT, .files = STATE_FILES_INIT, .memory = -1 \
	}

/* The VM's .lock is held, nobody runs it, and its config is read: has it a state? */
int resume_find(struct session *session, struct error *err) must_use_;
/* Its disks are open: are they as they were? */
int resume_check_disk(struct session *session, struct error *err) must_use_;
/* Begin to copy the guest's memory into session.memory, while QEMU starts. */
int resume_copy_memory(struct session *session, struct error *err) must_use_;
/* What the state asks of the plan. */
void resume_fill_plan(struct session *session, struct launch_plan *plan);
/* QEMU waits for the state: let the guest go on. Afterwards there is no state any more. */
int resume_load(struct session *session, struct error *err) must_use_;
/* The run failed: say so, and what has become of the state. Return: @err's code. */
int resume_failed(const struct session *session, struct error *err);
void resume_release(struct resume *resume);

/* Fill in what a state of the session's VM depends on, but for the disk. */
int session_describe(struct session *session, struct state *state, struct error *err) must_use_;
/* Plug in what no state can have in it (machine/plug.h): the first @count folders, the @clipboard.
 */
int session_plug_in(struct session *session, size_t count, bool clipboard,
		    struct error *err) must_use_;

#endif
