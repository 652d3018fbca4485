/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DETACH_H
#define RUN_DETACH_H

/*
 * --detach: `run` goes on in a session of its own, with its output in run.log,
 * and the command that was typed returns when the VM runs, or fails with
 * the reason why it does not. Forked before anything is locked: record
 * locks belong to a process.
 */

#include "base/attr.h"

struct error;
struct home;
struct run_options;

/*
 * Fork. In the parent, wait for the child's word.
 * Return: 1 in the child, whose word is to be sent to *status_pipe; 0 in the
 * parent when the VM runs; or the child's error, or ours.
 */
int detach_fork(const struct home *home, const struct run_options *options, int *status_pipe,
		struct error *err) must_use_;
/* The child's word: it runs. Closes *status_pipe; nothing where there is none. */
void detach_ready(int *status_pipe);
/* ... or: it failed. */
void detach_failed(int *status_pipe, const struct error *err);

#endif
