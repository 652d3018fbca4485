/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_PLUG_H
#define MACHINE_PLUG_H

/*
 * What a machine has that no state can be saved with: folders and the clipboard. Both are plugged
 * out before and in again afterwards; a machine that waits for a state (plan.incoming) starts
 * without them. Each function waits for QEMU, with a limit.
 */

#include <jansson.h>
#include <stddef.h>

#include "base/attr.h"

struct error;
struct launch_plan;
struct qmp;

/* A device and its chardev, by QEMU's names. */
struct plug {
	char device[24], chardev[24];
};
struct plug plug_folder(size_t index);
struct plug plug_clipboard(void);

/* Ask for @plug. The guest has to run: it gives a folder's device back itself, which it had better
 * not be using. */
int plug_ask_out(struct qmp *qmp, const struct plug *plug, struct error *err) must_use_;
/* Has it come, and is its chardev closed? Return: 1, 0 not yet, or error. */
int plug_is_out(struct qmp *qmp, const struct plug *plug, struct error *err) must_use_;
/*
 * Whose device is gone, if @event says that of a folder's: its index; SIZE_MAX of anything else.
 * Who was asked for it and did not give it back in time may do so later: no engine takes that back.
 */
size_t plug_folder_gone(const char *event, const json_t *data);
/* Connect it to @socket, where a virtiofsd listens to nobody else. */
int plug_folder_in(struct qmp *qmp, size_t index, const char *tag, int socket,
		   struct error *err) must_use_;
int plug_clipboard_in(struct qmp *qmp, const struct launch_plan *plan, struct error *err) must_use_;

#endif
