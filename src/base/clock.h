/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

struct str;

/* Milliseconds of CLOCK_MONOTONIC (CLOCK_BOOTTIME is not wanted: timers stop in suspend). */
uint64_t clock_ms(void);
/* Sleep; returns early when a signal handler ran. */
void clock_sleep_ms(uint64_t ms);
/* Append "2026-05-12T21:45:18Z". */
void clock_add_iso8601(struct str *out, time_t when);
/* Append English text relative to @now: "in 0 seconds", "5 seconds ago", "1 day ago". */
void clock_add_relative(struct str *out, time_t when, time_t now);

#endif
