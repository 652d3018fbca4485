/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "cli/table.h"

enum { TERMINAL_MS = 100, LINES_MS = 1000 };

static int percent_of(const struct progress *p)
{
	double share = p->total ? (double)p->done / (double)p->total : 1;

	return share >= 1 ? 100 : (int)(share * 100);
}

static void add_time(struct str *out, uint64_t seconds)
{
	if (seconds >= 3600)
		str_addf(out, "%" PRIu64 " h %02" PRIu64 " min", seconds / 3600,
			 seconds % 3600 / 60);
	else if (seconds >= 60)
		str_addf(out, "%" PRIu64 " min %02" PRIu64 " s", seconds / 60, seconds % 60);
	else
		str_addf(out, "%" PRIu64 " s", seconds);
}

/* " 42%  1.2 GB of 2.8 GB  310 MB/s  5 s left" */
static void show_line(const struct progress *p, uint64_t now)
{
	auto_str line = STR_INIT;
	uint64_t rate = now > p->started ? p->done * 1000 / (now - p->started) : 0;

	str_addf(&line, "\r%3d%%  ", percent_of(p));
	size_add(&line, p->done);
	str_adds(&line, " of ");
	size_add(&line, p->total);
	str_adds(&line, "  ");
	size_add(&line, rate);
	str_adds(&line, "/s  ");
	if (rate && p->done < p->total) {
		add_time(&line, (p->total - p->done) / rate);
		str_adds(&line, " left");
	}
	str_adds(&line, "\033[K");
	(void)fwrite(line.ptr, 1, line.len, stdout);
	(void)fflush(stdout);
}

static void show(struct progress *p, bool at_once)
{
	uint64_t now = clock_ms();
	int percent = percent_of(p);

	if (!at_once && now - p->shown < (uint64_t)(p->terminal ? TERMINAL_MS : LINES_MS))
		return;
	if (p->terminal)
		show_line(p, now);
	else if (percent != p->percent)
		(void)printf("%d%%\n", percent);
	p->shown = now;
	p->percent = percent;
}

void progress_begin(struct progress *p, uint64_t total)
{
	*p = (struct progress){ .mutex = PTHREAD_MUTEX_INITIALIZER,
				.total = total,
				.started = clock_ms(),
				.percent = -1,
				.terminal = isatty(STDOUT_FILENO) && !getenv("CI") };
	show(p, /* at_once= */ true);
}

void progress_add(void *arg, uint64_t bytes)
{
	struct progress *p = arg;

	(void)pthread_mutex_lock(&p->mutex);
	p->done += bytes;
	if (p->done > p->total) /* what was fetched twice, such as after a retry */
		p->done = p->total;
	show(p, /* at_once= */ false);
	(void)pthread_mutex_unlock(&p->mutex);
}

void progress_end(struct progress *p, bool complete)
{
	if (complete) {
		p->done = p->total;
		show(p, /* at_once= */ true);
	}
	if (p->terminal)
		(void)putchar('\n');
}
