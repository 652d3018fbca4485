/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DESK_H
#define RUN_DESK_H

/*
 * What somebody in front of a VM has: its screen in a window or by VNC, keyboard, pointer, sound,
 * clipboard. Everything about it is decided when the VM starts.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <uv.h>

#include "base/attr.h"
#include "machine/qmp.h"

struct error;
struct identity;
struct process_fd;
struct request;
struct session;
struct strings;

/* Each is the option of `run` of that name. */
struct desk_options {
	bool no_graphics, graphics, vnc, vnc_experimental;
	bool no_audio, no_clipboard, no_pointer, no_keyboard, capture_system_keys, suspendable;
};

/* VNC's authentication looks at so many characters. */
enum { DESK_PASSWORD = 8 };

struct desk {
	char password[DESK_PASSWORD + 1]; /* "": there is no VNC server of QEMU's */
	unsigned port; /* of it, on 127.0.0.1 */
	bool awaits_address; /* --vnc: the guest's own server is told of when it has an address */
	uv_timer_t timer; /* until it is said that it has none */
	int cookies; /* a copy of the X server's, for a QEMU of another user; -1: none; owned */
	unsigned pictures; /* drawn so far, for names */
	int sound; /* the directory of the user's sound server; -1: none; owned */
};
#define DESK_INIT                          \
	{                                  \
		.cookies = -1, .sound = -1 \
	}

/* Is there a desktop on which an engine of @identity could open a window? */
bool desk_is_there(const struct identity *identity) must_use_;
/* Fill in the session's plan; a missing part of QEMU is told, or E_MISSING_TOOL where it was asked
 * for. The session has its identity and engine. */
int desk_plan(struct session *session, struct error *err) must_use_;
/* Append what QEMU needs to reach the user's session; @fds has room for one more. */
void desk_environment(const struct session *session, struct strings *env, struct process_fd *fds,
		      size_t *fd_count);
/* QEMU runs: give its VNC server a password. */
int desk_open(struct session *session, struct error *err) must_use_;
/* The VM runs: print where it can be seen (contract 7.7). */
void desk_announce(struct session *session);
/* The guest uses @address. */
void desk_on_address(struct session *session, struct in_addr address);
/*
 * Have the screen drawn as PNG into @file, which is open for writing; it may be closed then.
 * @on_drawn(@arg) hears how it went, however long that takes, until qmp_forget().
 */
int desk_screenshot(struct session *session, int file, qmp_answer_fn on_drawn, void *arg,
		    struct error *err) must_use_;
void desk_release(struct desk *desk);

#endif
