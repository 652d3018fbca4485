/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_WAITING_H
#define CLI_WAITING_H

/*
 * A line for who waits: what takes longer than a second says on the standard error how far it is
 * and for how long it has been at it. The line is written over and taken away in the end. Where
 * the standard error is no terminal, or CI is in the environment, nothing is ever written.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * How far is it? Called from another thread while the work is done. @total: 0 where nobody knows.
 * Bytes.
 */
typedef void (*waiting_ask_fn)(void *arg, uint64_t *done, uint64_t *total);

struct waiting {
	const char *what; /* "exporting" */
	waiting_ask_fn ask; /* NULL: only the time is told */
	void *arg;
	uint64_t started; /* ms of clock_ms() */
	bool running; /* there is a thread */
	bool ended; /* guarded by mutex */
	pthread_mutex_t mutex;
	pthread_cond_t end;
	pthread_t thread;
};

/* Begin the work. That no line can be shown is no error. @waiting stays where it is. */
void waiting_begin(struct waiting *waiting, const char *what, waiting_ask_fn ask, void *arg);
/* It is done, or failed; the line is gone, and @arg is asked no more. */
void waiting_end(struct waiting *waiting);

#endif
