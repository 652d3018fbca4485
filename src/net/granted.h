/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_GRANTED_H
#define NET_GRANTED_H

/*
 * The addresses that a policy's names gave, as the keeper remembers them: which
 * name gave each, and until when. A table of fixed size, pure; the filter's set
 * is its image.
 */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct strings;

enum {
	GRANTED_MAX = 1024,
	GRANTED_LIFE_MS = 60 * 1000,
	GRANTED_LIFE_MAX_MS = 24 * 60 * 60 * 1000,
	GRANTED_STEP_MS = 5 * 1000,
};

struct grant {
	struct in_addr address;
	uint64_t name; /* a hash of the name */
	uint64_t until; /* ms */
};

struct granted {
	struct grant items[GRANTED_MAX];
	size_t count;
};

bool granted_has(const struct granted *granted, struct in_addr address);
/*
 * @name has @address for @ttl seconds, but at least for GRANTED_LIFE_MS, and at most for
 * GRANTED_LIFE_MAX_MS: servers claim years, and the table would stay full.
 * Return: 1 it is new; 0 it was there, and lives on; -ENOSPC.
 */
int granted_add(struct granted *granted, const char *name, struct in_addr address, uint32_t ttl,
		uint64_t now) must_use_;
/* Take out entry number @i; another takes its place. */
void granted_remove(struct granted *granted, size_t i);
/* Did one of @names give entry @i? */
bool granted_by(const struct granted *granted, size_t i, const struct strings *names);
/*
 * When the first of them is to be taken out (ms), UINT64_MAX where there is none: up to
 * GRANTED_STEP_MS after its end, so that many go at once. To look for their flows costs.
 */
uint64_t granted_next(const struct granted *granted);

#endif
