/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DIR_CACHE_H
#define RUN_DIR_CACHE_H

/*
 * The archives that were fetched, in cache/archives: HEX.archive, and HEX.json, which says what URL
 * it is of and which version. They are asked for again each time, but come again only where they
 * have changed. Together they have at most DIR_CACHE_MAX bytes: the longest unused goes first.
 */

#include <stdint.h>

#include "base/attr.h"

struct error;
struct home;
struct identity;

#define DIR_CACHE_MAX (UINT64_C(1) << 30)

/*
 * The archive at @url, from there or from the cache, as stdout is told; where we are root,
 * @identity fetches it. Where nobody answers, what the cache has will do, which stderr is told. A
 * user name and password in @url are kept nowhere. Return: a descriptor to read it from; or error.
 */
int dir_cache_open(const struct home *home, const char *url, const struct identity *identity,
		   struct error *err) must_use_;

#endif
