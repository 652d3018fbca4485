/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_TERMINAL_H
#define AGENT_TERMINAL_H

/*
 * The user's terminal during exec -t: raw while the command runs, as it
 * was on every way out; a signal that ends the program restores it first. One at a time per
 * process.
 */

#include <stdbool.h>

#include "agent/proto.h"

/* Put the terminal @fd into raw mode, if it is one. */
void terminal_raw(int fd);
/* Undo terminal_raw(). May be called without it. */
void terminal_restore(void);
/* Watch SIGWINCH. Return: a descriptor that becomes readable, or -1. */
int terminal_watch_size(void);
/* The size of standard output's terminal; 24 x 80 where it is none. */
struct proto_size terminal_size(void);

#endif
