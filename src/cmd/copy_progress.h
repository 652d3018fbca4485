/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_COPY_PROGRESS_H
#define CMD_COPY_PROGRESS_H

/*
 * How much was copied, on one line of standard error that is written over and is gone in the end:
 * only on a terminal, without CI in the environment, and for what takes over a second.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct copy_progress {
	bool terminal, shown;
	uint64_t bytes;
	uint64_t started, last; /* clock_ms() */
};

void copy_progress_begin(struct copy_progress *progress);
void copy_progress_add(struct copy_progress *progress, size_t bytes);
void copy_progress_end(struct copy_progress *progress);

#endif
