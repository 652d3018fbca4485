/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_RETRY_H
#define OCI_RETRY_H

/*
 * When to try again: RETRY_TRIES times without progress, after a time that is random in the
 * upper half of a bound that doubles from 1 s to 20 s, and never before what Retry-After asks for
 * (RFC 9110 section 10.2.3).
 */

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/attr.h"

struct error;
struct http_response;

enum {
	RETRY_TRIES = 5,
	RETRY_AFTER_MAX_MS = 5 * 60 * 1000,
	RETRY_PROGRESS = 16 * 1024, /* bytes of one try that count as progress */
};

struct retry_policy {
	uint64_t base_ms;
	void (*notice)(void *arg, const char *text); /* of other tries; may be NULL */
	void (*warning)(void *arg, const char *text); /* of all else; may be NULL */
	bool (*cancelled)(void *arg); /* may be NULL */
	void *arg;
};

struct retry {
	const struct retry_policy *policy;
	unsigned failures; /* since the last progress */
};

/* The bound's base: LINZER_RETRY_BASE_MS, else 1000. */
uint64_t retry_base_ms(void);
/* 408, 429 and 5xx; also 403 that names a time, with which GitHub limits rates. */
bool retry_is_transient(const struct http_response *response);
/* Milliseconds of a Retry-After header (seconds or an HTTP date), at most the maximum; NULL: 0. */
uint64_t retry_after_ms(const char *value, time_t now);
/*
 * A try failed, and @err says why. Return: 0, it was waited and there shall be another try; or
 * -err->code, that was the last one (which @err now says, too), or the user interrupted.
 */
int retry_wait(struct retry *retry, const char *retry_after, struct error *err) must_use_;

#endif
