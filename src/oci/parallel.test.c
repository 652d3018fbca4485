/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/error.h"
#include "oci/parallel.h"

enum { JOBS = 1000 };

struct tally {
	atomic_int done[JOBS];
	atomic_int running, most, stopped;
	size_t bad; /* the job that fails; JOBS: none */
};

static int job(void *arg, size_t index, const volatile bool *stop, struct error *err)
{
	struct tally *t = arg;
	int now = atomic_fetch_add(&t->running, 1) + 1;

	if (now > atomic_load(&t->most))
		atomic_store(&t->most, now);
	atomic_fetch_add(&t->done[index], 1);
	if (index == t->bad) {
		atomic_fetch_sub(&t->running, 1);
		return error_set(err, E_INVALID, "job %zu is bad", index);
	}
	if (*stop)
		atomic_fetch_add(&t->stopped, 1);
	atomic_fetch_sub(&t->running, 1);
	return 0;
}

static void each_job_is_done_once(void **state)
{
	struct tally t = { .bad = JOBS };
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parallel_run(4, JOBS, job, &t, &err), 0);
	for (size_t i = 0; i < JOBS; i++)
		assert_int_equal(atomic_load(&t.done[i]), 1);
	assert_true(atomic_load(&t.most) <= 4);
}

static void one_thread_goes_in_order_and_stops_at_the_failure(void **state)
{
	struct tally t = { .bad = 7 };
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parallel_run(1, JOBS, job, &t, &err), -E_INVALID);
	assert_string_equal(err.text, "job 7 is bad");
	for (size_t i = 0; i < JOBS; i++)
		assert_int_equal(atomic_load(&t.done[i]), i <= 7);
}

/* Waits until it is told to stop; the other fails. */
static int wait_or_fail(void *arg, size_t index, const volatile bool *stop, struct error *err)
{
	atomic_int *waiting = arg;

	if (index == 1) {
		while (!atomic_load(waiting))
			clock_sleep_ms(1);
		return error_set(err, E_FAILED, "failed");
	}
	atomic_store(waiting, 1);
	while (!*stop)
		clock_sleep_ms(1);
	return error_set(err, E_CANCELLED, "stopped");
}

static void a_long_job_hears_of_the_failure_and_the_first_error_is_told(void **state)
{
	atomic_int waiting = 0;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parallel_run(2, 2, wait_or_fail, &waiting, &err), -E_FAILED);
	assert_string_equal(err.text, "failed");
}

static void no_jobs_are_a_success(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parallel_run(4, 0, job, NULL, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_job_is_done_once),
		cmocka_unit_test(one_thread_goes_in_order_and_stops_at_the_failure),
		cmocka_unit_test(a_long_job_hears_of_the_failure_and_the_first_error_is_told),
		cmocka_unit_test(no_jobs_are_a_success),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
