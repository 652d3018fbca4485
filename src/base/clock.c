/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <inttypes.h>

#include "base/str.h"

uint64_t clock_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void clock_sleep_ms(uint64_t ms)
{
	struct timespec t = { .tv_sec = (time_t)(ms / 1000),
			      .tv_nsec = (long)(ms % 1000) * 1000000 };

	(void)nanosleep(&t, NULL);
}

void clock_add_iso8601(struct str *out, time_t when)
{
	char text[sizeof("2026-05-12T21:45:18Z") + 16];
	struct tm tm;

	if (!gmtime_r(&when, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		str_adds(out, "1970-01-01T00:00:00Z");
	else
		str_adds(out, text);
}

static const struct {
	uint64_t seconds;
	const char *name;
} units[] = {
	{ UINT64_C(365) * 86400, "year" },
	{ UINT64_C(30) * 86400, "month" },
	{ UINT64_C(7) * 86400, "week" },
	{ 86400, "day" },
	{ 3600, "hour" },
	{ 60, "minute" },
	{ 1, "second" },
};

void clock_add_relative(struct str *out, time_t when, time_t now)
{
	/* unsigned: times from an archive may be any, and may lie further apart than a time_t */
	uint64_t distance =
		now > when ? (uint64_t)now - (uint64_t)when : (uint64_t)when - (uint64_t)now;
	size_t u = 0;
	uint64_t n;

	while (u + 1 < array_size(units) && distance < units[u].seconds)
		u++;
	n = distance / units[u].seconds;
	if (now > when)
		str_addf(out, "%" PRIu64 " %s%s ago", n, units[u].name, n == 1 ? "" : "s");
	else
		str_addf(out, "in %" PRIu64 " %s%s", n, units[u].name, n == 1 ? "" : "s");
}
