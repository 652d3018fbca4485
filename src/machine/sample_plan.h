/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_SAMPLE_PLAN_H
#define MACHINE_SAMPLE_PLAN_H

/* Test support: launch plans that are compared with golden files and given to the real engine. */

#include <stdbool.h>

#include "machine/plan.h"

struct sample_plan {
	const char *name; /* golden/<name>.args */
	void (*fill)(struct launch_plan *plan); /* every descriptor a number of its own from 100 */
	bool kvm; /* cannot be started on every host */
};

enum { SAMPLE_PLANS = 15 };
extern const struct sample_plan sample_plans[SAMPLE_PLANS];

#endif
