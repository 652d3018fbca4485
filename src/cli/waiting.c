/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/waiting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/process.h"
#include "base/str.h"
#include "cli/table.h"

enum { FIRST_MS = 1000, NEXT_MS = 200 };

/* "exporting: 42%, 1.2 GB of 2.8 GB, 5 s" */
static void show(const struct waiting *w)
{
	auto_str line = STR_INIT;
	uint64_t done = 0, total = 0;

	str_addf(&line, "\r%s: ", w->what);
	if (w->ask)
		w->ask(w->arg, &done, &total);
	if (done > total)
		total = 0; /* nobody knows better */
	if (total)
		str_addf(&line, "%d%%, ", (int)((double)done / (double)total * 100));
	if (w->ask)
		size_add(&line, done);
	if (total) {
		str_adds(&line, " of ");
		size_add(&line, total);
	}
	str_addf(&line, "%s%" PRIu64 " s\033[K", w->ask ? ", " : "",
		 (clock_ms() - w->started) / 1000);
	(void)!write(STDERR_FILENO, line.ptr, line.len);
}

/* Return: has the work ended? Else @ms went by. The mutex is held. */
static bool wait_for_end(struct waiting *w, uint64_t ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (!w->ended)
		if (pthread_cond_timedwait(&w->end, &w->mutex, &until) == ETIMEDOUT)
			break;
	return w->ended;
}

static void *tell(void *arg)
{
	static const char clear[] = "\r\033[K";
	struct waiting *w = arg;
	bool shown = false;

	(void)pthread_mutex_lock(&w->mutex);
	while (!wait_for_end(w, shown ? NEXT_MS : FIRST_MS)) {
		show(w);
		shown = true;
	}
	(void)pthread_mutex_unlock(&w->mutex);
	if (shown)
		(void)!write(STDERR_FILENO, clear, sizeof(clear) - 1);
	return NULL;
}

void waiting_begin(struct waiting *w, const char *what, waiting_ask_fn ask, void *arg)
{
	pthread_condattr_t attributes;
	struct error ignored = ERROR_INIT;

	*w = (struct waiting){ .what = what, .ask = ask, .arg = arg, .started = clock_ms() };
	if (!isatty(STDERR_FILENO) || getenv("CI"))
		return;
	(void)pthread_mutex_init(&w->mutex, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&w->end, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	w->running = process_start_thread(&w->thread, tell, w, &ignored) == 0;
}

void waiting_end(struct waiting *w)
{
	if (!w->running)
		return;
	(void)pthread_mutex_lock(&w->mutex);
	w->ended = true;
	(void)pthread_cond_signal(&w->end);
	(void)pthread_mutex_unlock(&w->mutex);
	(void)pthread_join(w->thread, NULL);
	w->running = false;
}
