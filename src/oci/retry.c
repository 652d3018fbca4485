/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/retry.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "oci/http.h"

enum { BASE_MS = 1000, BASE_MS_MAX = 60 * 1000, CAP_FACTOR = 20, SLICE_MS = 100 };

uint64_t retry_base_ms(void)
{
	const char *text = getenv("LINZER_RETRY_BASE_MS");
	uint64_t ms = BASE_MS;

	return text && str_to_u64(text, BASE_MS_MAX, &ms) == 0 ? ms : BASE_MS;
}

bool retry_is_transient(const struct http_response *response)
{
	int status = response->status;

	return status == 408 || status == 429 || status >= 500 ||
	       (status == 403 && response->retry_after);
}

uint64_t retry_after_ms(const char *value, time_t now)
{
	uint64_t seconds;
	time_t when;

	if (!value)
		return 0;
	if (str_to_u64(value, UINT64_MAX, &seconds) == 0)
		return seconds < RETRY_AFTER_MAX_MS / 1000 ? seconds * 1000 : RETRY_AFTER_MAX_MS;
	when = strspn(value, "0123456789") == strlen(value) ? -1 : curl_getdate(value, NULL);
	if (when <= now) /* also what is no date */
		return 0;
	seconds = (uint64_t)(when - now);
	return seconds < RETRY_AFTER_MAX_MS / 1000 ? seconds * 1000 : RETRY_AFTER_MAX_MS;
}

/* In the upper half of [0, bound]: many that failed at once shall not come back at once, and no
 * wait at all would help nobody. */
static uint64_t jitter_ms(const struct retry *retry)
{
	uint64_t base = retry->policy->base_ms;
	uint64_t bound = base << (retry->failures - 1);

	if (bound > base * CAP_FACTOR)
		bound = base * CAP_FACTOR;
	return bound - arc4random_uniform((uint32_t)(bound / 2) + 1);
}

static void tell(const struct retry_policy *policy, uint64_t ms, const struct error *err)
{
	auto_free char *text = NULL;

	if (!policy->notice)
		return;
	text = str_format("retrying in %llu.%llu s: %s", (unsigned long long)(ms / 1000),
			  (unsigned long long)(ms % 1000 / 100), err->text);
	policy->notice(policy->arg, text);
}

static int wait_ms(const struct retry_policy *policy, uint64_t ms, struct error *err)
{
	uint64_t end = clock_ms() + ms, now;

	while ((now = clock_ms()) < end) {
		if (policy->cancelled && policy->cancelled(policy->arg))
			return error_set(err, E_CANCELLED, "cancelled");
		clock_sleep_ms(end - now < SLICE_MS ? end - now : SLICE_MS);
	}
	return 0;
}

int retry_wait(struct retry *retry, const char *retry_after, struct error *err)
{
	uint64_t ms, at_least = retry_after_ms(retry_after, time(NULL));

	if (++retry->failures >= RETRY_TRIES)
		return -err->code;
	ms = jitter_ms(retry);
	if (ms < at_least)
		ms = at_least;
	tell(retry->policy, ms, err);
	return wait_ms(retry->policy, ms, err);
}
