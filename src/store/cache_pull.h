/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CACHE_PULL_H
#define STORE_CACHE_PULL_H

/*
 * Where an image is put together before it appears in the cache: cache/pulls/HEX, HEX being the
 * digest of its manifest, so that whoever pulls the same image, under whatever name, goes on where
 * another stopped. It is flocked by whoever works on it; what nobody works on stays for the next,
 * until it is pruned (store/cache.h).
 */

#include <stdbool.h>

#include "base/attr.h"
#include "oci/digest.h"

struct error;
struct home;

struct cache_pull {
	char *path;
	int dir; /* the directory, and its lock */
};
#define CACHE_PULL_INIT   \
	{                 \
		.dir = -1 \
	}

/*
 * Open (or make) it and take the lock. @waiting is called, once, where somebody else has it.
 * Return: 1 it was there before and may hold something; 0 it is new; or error.
 */
int cache_pull_open(const struct home *home, const struct digest *digest, void (*waiting)(void),
		    struct cache_pull *pull, struct error *err) must_use_;
/*
 * Open (or make) a file in it for reading and writing, with what it holds. Somebody killed just
 * before the image appeared may have left it read-only; one that is a second name of another
 * image's file is not to be written to, and makes room. Return: fd or error.
 */
int cache_pull_file(const struct cache_pull *pull, const char *name, struct error *err) must_use_;
/* Let go; what it holds stays. */
void cache_pull_release(struct cache_pull *pull);
#define auto_cache_pull cleanup_(cache_pull_release) struct cache_pull
/* Let go and remove it, such as when nothing in it is of use. */
void cache_pull_discard(struct cache_pull *pull);

#endif
