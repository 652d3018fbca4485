/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/parallel.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

struct jobs {
	pthread_mutex_t mutex; /* guards what follows */
	size_t next, count;
	struct error first;
	int result; /* what it came with */
	volatile bool stop; /* read without it, too */
	parallel_fn job;
	void *arg;
};

/* Return: the next job's number, or count where none is to begin. */
static size_t take_job(struct jobs *jobs)
{
	size_t index;

	(void)pthread_mutex_lock(&jobs->mutex);
	index = jobs->stop || jobs->next == jobs->count ? jobs->count : jobs->next++;
	(void)pthread_mutex_unlock(&jobs->mutex);
	return index;
}

static void fail(struct jobs *jobs, int result, const struct error *err)
{
	(void)pthread_mutex_lock(&jobs->mutex);
	if (!jobs->stop) {
		jobs->first = *err;
		jobs->result = result;
	}
	jobs->stop = true;
	(void)pthread_mutex_unlock(&jobs->mutex);
}

static void *work(void *arg)
{
	struct jobs *jobs = arg;
	size_t index;

	while ((index = take_job(jobs)) < jobs->count) {
		struct error err = ERROR_INIT;
		int r = jobs->job(jobs->arg, index, &jobs->stop, &err);

		if (r < 0)
			fail(jobs, r, &err);
	}
	return NULL;
}

int parallel_run(unsigned threads, size_t count, parallel_fn job, void *arg, struct error *err)
{
	struct jobs jobs = {
		.mutex = PTHREAD_MUTEX_INITIALIZER, .count = count, .job = job, .arg = arg
	};
	size_t wanted = threads < count ? threads : count, started = 0;
	auto_free pthread_t *ids = xcalloc(wanted ? wanted : 1, sizeof(*ids));
	int r = 0;

	while (started < wanted && r == 0) {
		r = pthread_create(&ids[started], NULL, work, &jobs);
		started += r == 0;
	}
	if (count && !started) /* so few threads that there is none for us: then alone */
		(void)work(&jobs);
	while (started)
		(void)pthread_join(ids[--started], NULL);
	if (!jobs.stop)
		return 0;
	*err = jobs.first;
	return jobs.result;
}
