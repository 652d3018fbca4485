/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_FOLDERS_H
#define RUN_FOLDERS_H

/*
 * The folders of --dir: for each tag one virtiofsd in a jail (folder_jail.h), whose socket goes to
 * QEMU. It reads and writes the guest's memory, which is a memory file for that. It ends with QEMU,
 * and is killed with us.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

#include "base/attr.h"
#include "machine/plan.h"

struct dir_options;
struct error;
struct identity;

struct folder_share {
	char *tag;
	pid_t pid; /* 0: has ended */
	int pidfd;
	int errors; /* read end of its stderr */
	int qemu; /* QEMU's end of its socket, until QEMU has it */
	char last_error[256]; /* its last line there */
	uv_poll_t end_poll, errors_poll;
	uv_timer_t grace;
	struct folders *folders;
};

struct folders {
	struct folder_share shares[PLAN_FOLDERS_MAX];
	size_t count;
	void (*on_gone)(void *arg, const char *why);
	void *arg;
};
#define FOLDERS_INIT       \
	{                  \
		.count = 0 \
	}

/*
 * Find the folders and start what serves them to the engine of @identity. Where we are root, a
 * folder is served as its owner, and as the engine's user if that is root.
 */
int folders_start(struct folders *folders, const struct dir_options *dirs,
		  const struct identity *identity, struct error *err) must_use_;
/* Add them to @plan, which borrows. */
void folders_fill_plan(const struct folders *folders, struct launch_plan *plan);
/* QEMU has been started: close what only it needs. */
void folders_handed(struct folders *folders);
/* QEMU failed to start. Return: 0 the folders are no reason; or what is wrong with them. */
int folders_explain(struct folders *folders, struct error *err) must_use_;
/*
 * Tell @on_gone, once for each tag, that its virtiofsd ended some seconds ago (it ends by itself a
 * moment before QEMU does). The guest's files of that tag hang; nothing else is harmed.
 */
int folders_watch(struct folders *folders, uv_loop_t *loop,
		  void (*on_gone)(void *arg, const char *why), void *arg,
		  struct error *err) must_use_;
/* QEMU has given @count of them back, from @first on, which ended what served them, and is to get
 * them again: start that anew. After folders_watch(). */
int folders_restart(struct folders *folders, size_t first, size_t count,
		    const struct dir_options *dirs, const struct identity *identity,
		    struct error *err) must_use_;
/* After the loop's handles are closed. */
void folders_stop(struct folders *folders);

#endif
