/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_CONSOLE_H
#define RUN_CONSOLE_H

/*
 * The guest's serial console: a stream socket to QEMU, whose output goes to
 * console.log in the VM's directory and, with --serial or --serial-path, to a
 * terminal that also types. A guest may print for ever: the log is two files of
 * CONSOLE_LOG_MAX bytes, console.log and the older console.log.1, and a
 * terminal that does not read loses bytes rather than holding the guest up.
 */

#include <stdbool.h>
#include <uv.h>

#include "base/attr.h"

struct error;
struct vm;

enum { CONSOLE_LOG_MAX = 1024 * 1024 };

struct console {
	uv_poll_t guest_poll, terminal_poll;
	int guest; /* our end of the socket; owned */
	int terminal; /* -1: none; owned */
	int terminal_peer; /* of a pty: keeps it from hanging up; owned */
	int log; /* owned */
	int dir; /* the VM's, borrowed */
	size_t logged;
};
#define CONSOLE_INIT                                                        \
	{                                                                   \
		.guest = -1, .terminal = -1, .terminal_peer = -1, .log = -1 \
	}

/*
 * Open the log and the terminal. @goes_on: a guest is resumed, and its log goes on. @serial: make a
 * pty and print "Successfully open pty /dev/pts/N"; @serial_path: use that terminal, or E_FAILED
 * "Failed to open PTY".
 */
int console_open(struct console *console, const struct vm *vm, bool goes_on, bool serial,
		 const char *serial_path, struct error *err) must_use_;
/* Start to relay; takes @guest (a non-blocking stream socket) over. */
int console_start(struct console *console, uv_loop_t *loop, int guest, struct error *err) must_use_;
/* Close what is open; after the loop that console_start() was given has closed its handles. */
void console_release(struct console *console);

#endif
