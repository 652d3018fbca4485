/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_PARALLEL_H
#define OCI_PARALLEL_H

/* Independent jobs, several at once. */

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct error;

/*
 * Do job @index. @stop turns true when another job failed: a long job looks at it now and then
 * and returns -E_CANCELLED. Return: 0 or error.
 */
typedef int (*parallel_fn)(void *arg, size_t index, const volatile bool *stop, struct error *err);

/*
 * Call @job for 0 to @count - 1, begun in this order, by at most @threads threads. After a failure
 * no further job begins. Return: 0, or the error that came first, with its @err.
 */
int parallel_run(unsigned threads, size_t count, parallel_fn job, void *arg,
		 struct error *err) must_use_;

#endif
