/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_CACHE_TREE_H
#define STORE_CACHE_TREE_H

/* What the files of this room that change the cache share: where a name is, and what is there. */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "oci/digest.h"
#include "oci/name.h"
#include "store/vm.h"

struct error;
struct home;

#define CACHE_TRASH ".trash-" /* cache/OCIs/.trash-<hex>: on its way out */
#define CACHE_NEW_LINK ".link-" /* beside a tag: about to take its place */
#define CACHE_PULLED ".explicitly-pulled"
#define CACHE_NEW ".new" /* no tag names it yet: whoever was to link it may have been killed */

/* cache/.lock. Return: fd. */
int cache_lock(const struct home *home, struct error *err) must_use_;
/* cache/OCIs, made where it is missing (@create). Return: fd. */
int cache_open_root(const struct home *home, bool create, struct error *err) must_use_;
/* The path of @name's repository beneath cache/OCIs; the caller's to free. */
char *cache_repository_path(const struct oci_name *name) must_use_;
/*
 * The directory of @name's repository; links on the way are not followed. Return: fd; -ENOENT where
 * it is missing and not to be made (@create).
 */
int cache_open_repository(const struct home *home, const struct oci_name *name, bool create,
			  struct error *err) must_use_;
/* The digest of which the tag @tag is a link in @repository. Return: 1, 0 there is no such link. */
int cache_read_tag(int repository, const char *tag, struct digest *digest) must_use_;
/* Are the files that make an image in @image? */
bool cache_is_whole(int image);

/* A tag, or an image's directory. */
struct cache_node {
	struct oci_name name;
	char *repository; /* its path beneath cache/OCIs */
	struct digest digest;
	bool is_tag;
	bool broken; /* a tag without its image */
	unsigned tags; /* of an image: how many there are */
};
struct cache_nodes {
	struct cache_node *items; /* sorted by canonical name */
	size_t len;
	size_t cap;
};
/* All of them. @sweep: remove on the way what a crash left; cache_lock() is held. */
int cache_walk(const struct home *home, bool sweep, struct cache_nodes *nodes,
	       struct error *err) must_use_;
void cache_nodes_clear(struct cache_nodes *nodes);
#define auto_cache_nodes cleanup_(cache_nodes_clear) struct cache_nodes

/* Remove a repository's directories as far up as nothing is in them; cache_lock() is held. */
void cache_remove_empty(const struct home *home, const char *repository);
/* The path of an image's directory; the caller's to free. */
char *cache_image_path(const struct home *home, const struct cache_node *node) must_use_;
/*
 * Take an image's directory out of the tree and remove it; cache_lock() is held. Return: 1; 0
 * somebody reads it, or it is gone; or error.
 */
int cache_remove_image(const struct home *home, const struct cache_node *node,
		       struct error *err) must_use_;
/* cache_gc() for who holds cache_lock(). */
int cache_collect(const struct home *home, struct error *err) must_use_;

/* Unfinished pulls that nobody works on (who does: store/cache_pull.h). */
struct cache_leftover {
	char *name; /* in cache/pulls/ */
	time_t changed;
	uint64_t size; /* bytes that its removal gives back */
};
struct cache_leftovers {
	struct cache_leftover *items; /* oldest first */
	size_t len;
	size_t cap;
};
/* @measure: their sizes, too, which takes time. */
int cache_find_leftovers(const struct home *home, bool measure, struct cache_leftovers *pulls,
			 struct error *err) must_use_;
void cache_leftovers_clear(struct cache_leftovers *pulls);
#define auto_cache_leftovers cleanup_(cache_leftovers_clear) struct cache_leftovers
/* Return: 1; 0 somebody works on it now, or it is gone; or error. */
int cache_remove_leftover(const struct home *home, const char *name, struct error *err) must_use_;

#endif
