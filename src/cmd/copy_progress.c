/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/copy_progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

enum { QUIET_MS = 1000, BETWEEN_MS = 200 };

void copy_progress_begin(struct copy_progress *progress)
{
	*progress = (struct copy_progress){
		.terminal = isatty(STDERR_FILENO) && !getenv("CI"),
		.started = clock_ms(),
	};
}

void copy_progress_add(struct copy_progress *progress, size_t bytes)
{
	uint64_t now;
	double megabytes;

	progress->bytes += bytes;
	if (!progress->terminal)
		return;
	now = clock_ms();
	if (now - progress->started < QUIET_MS || now - progress->last < BETWEEN_MS)
		return;
	progress->last = now;
	progress->shown = true;
	megabytes = (double)progress->bytes / 1e6;
	(void)dprintf(STDERR_FILENO, "\r%.1f MB copied, %.1f MB/s\033[K", megabytes,
		      megabytes * 1000 / (double)(now - progress->started));
}

void copy_progress_end(struct copy_progress *progress)
{
	if (progress->shown)
		(void)dprintf(STDERR_FILENO, "\r\033[K");
}
