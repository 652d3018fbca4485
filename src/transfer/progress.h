/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_PROGRESS_H
#define TRANSFER_PROGRESS_H

/*
 * How far a transfer is, on the standard output: on a terminal (and without CI in the environment)
 * one line that is written over, with bytes, rate and time left; else lines such as "42%", at most
 * one a second.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct progress {
	pthread_mutex_t mutex; /* guards all */
	uint64_t total, done; /* bytes */
	uint64_t started, shown; /* ms of clock_ms() */
	int percent; /* last shown, -1: none */
	bool terminal;
};

void progress_begin(struct progress *progress, uint64_t total);
/* From any thread. @arg: the struct progress. */
void progress_add(void *arg, uint64_t bytes);
/* @complete: all is done, which is shown. */
void progress_end(struct progress *progress, bool complete);

#endif
