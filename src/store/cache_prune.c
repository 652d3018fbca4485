/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation: what an image gives back is what its disk (and its overlays) occupy and
 * nobody else has: no other name, no shared extents. Asking that of a file system is slow (FIEMAP),
 * so it is asked only of images of which something depends on the answer. An image's small files
 * come back too, but nobody prunes for those: an image whose disk is shared gives nothing back.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/cache.h"
#include "store/cache_tree.h"
#include "store/home.h"

enum { DAY = 86400 };
#define GIB (UINT64_C(1) << 30)

struct candidate {
	const struct cache_node *image; /* borrowed */
	const struct cache_node *tag; /* the first one, borrowed; NULL: none */
	time_t accessed;
	uint64_t allocated; /* bytes of its files */
	uint64_t occupied; /* of those its disk's */
	uint64_t disk; /* of those what has no other name */
	uint64_t gain; /* bytes that come back; valid once measured */
	bool measured;
};

struct candidates {
	struct candidate *items; /* oldest first */
	size_t len;
};

static void release_candidates(struct candidates *list)
{
	free(list->items);
}
#define auto_candidates cleanup_(release_candidates) struct candidates

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static bool is_disk(const char *name)
{
	return strcmp(name, "disk.img") == 0 || str_starts(name, "overlay-");
}

typedef void (*file_fn)(struct candidate *c, int dir, const char *name, const struct stat *st);

static void each_file(const struct home *home, struct candidate *c, file_fn each)
{
	auto_free char *path = cache_image_path(home, c->image);
	cleanup_(close_dir) DIR *d = opendir(path);
	struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d)))
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			each(c, dirfd(d), e->d_name, &st);
}

static void add_allocated(struct candidate *c, int dir, const char *name, const struct stat *st)
{
	(void)dir;
	c->allocated += fs_allocated(st);
	if (is_disk(name))
		c->occupied += fs_allocated(st);
	if (is_disk(name) && st->st_nlink == 1)
		c->disk += fs_allocated(st);
	if (strcmp(name, ".accessed") == 0)
		c->accessed = st->st_mtime;
}

static void add_gain(struct candidate *c, int dir, const char *name, const struct stat *st)
{
	auto_fd fd = -1;
	struct error ignored = ERROR_INIT;
	uint64_t bytes = 0;

	if (!is_disk(name) || st->st_nlink > 1)
		return;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && fs_exclusive_bytes(fd, &bytes, &ignored) == 0)
		c->gain += bytes;
}

static uint64_t gain_of(const struct home *home, struct candidate *c)
{
	if (!c->measured && c->disk)
		each_file(home, c, add_gain);
	c->measured = true;
	return c->gain;
}

static int oldest_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->accessed < y->accessed ? -1 : x->accessed > y->accessed ? 1 : 0;
}

static const struct cache_node *first_tag(const struct cache_nodes *nodes,
					  const struct cache_node *image)
{
	for (size_t i = 0; i < nodes->len; i++) {
		const struct cache_node *n = &nodes->items[i];

		if (n->is_tag && strcmp(n->repository, image->repository) == 0 &&
		    digest_equal(&n->digest, &image->digest))
			return n;
	}
	return NULL;
}

/* All images; also those that are not whole, which take room too. */
static void find_candidates(const struct home *home, const struct cache_nodes *nodes,
			    struct candidates *list)
{
	list->items = xcalloc(nodes->len ? nodes->len : 1, sizeof(list->items[0]));
	for (size_t i = 0; i < nodes->len; i++) {
		struct candidate *c = &list->items[list->len];
		auto_free char *path = NULL;
		struct stat st;

		if (nodes->items[i].is_tag)
			continue;
		list->len++;
		c->image = &nodes->items[i];
		c->tag = c->image->tags ? first_tag(nodes, c->image) : NULL;
		path = cache_image_path(home, c->image);
		if (stat(path, &st) == 0)
			c->accessed = st.st_atime;
		each_file(home, c, add_allocated);
	}
	qsort(list->items, list->len, sizeof(list->items[0]), oldest_first);
}

static int unlink_tags(const struct home *home, const struct cache_nodes *nodes,
		       const struct cache_node *image, struct error *err)
{
	auto_fd repository = cache_open_repository(home, &image->name, /* create= */ false, err);

	if (repository < 0)
		return repository == -ENOENT ? 0 : repository;
	for (size_t i = 0; i < nodes->len; i++) {
		const struct cache_node *n = &nodes->items[i];

		if (n->is_tag && strcmp(n->repository, image->repository) == 0 &&
		    digest_equal(&n->digest, &image->digest) &&
		    unlinkat(repository, n->name.tag, 0) < 0 && errno != ENOENT)
			return error_errno(err, "cannot remove the tag '%s' from the cache",
					   n->name.tag);
	}
	cache_remove_empty(home, image->repository);
	return 0;
}

/* Return: 1 it is gone; 0 somebody reads it, so it stays; or error. */
static int remove_candidate(const struct home *home, const struct cache_nodes *nodes,
			    struct candidate *c, struct str *removed, struct error *err)
{
	uint64_t gain = gain_of(home, c);
	int r = cache_remove_image(home, c->image, err);

	if (r <= 0)
		return r;
	oci_name_add(c->tag ? &c->tag->name : &c->image->name, removed);
	str_addf(removed, " (%llu bytes)\n", (unsigned long long)gain);
	r = unlink_tags(home, nodes, c->image, err);
	return r < 0 ? r : 1;
}

static int remove_pull(const struct home *home, const struct cache_leftover *pull,
		       struct str *removed, struct error *err)
{
	int r = cache_remove_leftover(home, pull->name, err);

	if (r > 0)
		str_addf(removed, "unfinished pull of %.80s (%llu bytes)\n", pull->name,
			 (unsigned long long)pull->size);
	return r;
}

static int remove_all_pulls(const struct home *home, struct str *removed, struct error *err)
{
	auto_cache_leftovers pulls = { 0 };
	int r = cache_find_leftovers(home, /* measure= */ true, &pulls, err);

	for (size_t i = 0; r >= 0 && i < pulls.len; i++)
		r = remove_pull(home, &pulls.items[i], removed, err);
	return r < 0 ? r : 0;
}

/* The budget of contract 4.6: the newest that still fit are kept, a smaller older one too. */
static bool within(uint64_t size, uint64_t *budget)
{
	if (size > *budget)
		return false;
	*budget -= size;
	return true;
}

/* All that its disk occupies somebody else has too. */
static bool gives_nothing_back(const struct home *home, struct candidate *c)
{
	return c->occupied && gain_of(home, c) == 0;
}

static int prune(const struct home *home, const struct cache_nodes *nodes,
		 const struct candidates *list, int64_t older_than_days, uint64_t budget, bool all,
		 struct str *removed, struct error *err)
{
	time_t now = time(NULL);
	int r = 0;

	for (size_t i = list->len; r >= 0 && i-- > 0;) { /* newest first */
		struct candidate *c = &list->items[i];
		bool old = older_than_days >= 0 && (now - c->accessed) / DAY >= older_than_days;

		if (!all && !old && (within(c->allocated, &budget) || gives_nothing_back(home, c)))
			continue;
		r = remove_candidate(home, nodes, c, removed, err);
	}
	return r < 0 ? r : 0;
}

int cache_prune(const struct home *home, int64_t older_than_days, int64_t budget_gib, bool all,
		struct str *removed, struct error *err)
{
	auto_fd lock = cache_lock(home, err);
	auto_cache_nodes nodes = { 0 };
	auto_candidates list = { 0 };
	uint64_t budget;
	int r = lock < 0 ? lock : cache_walk(home, /* sweep= */ true, &nodes, err);

	if (r < 0)
		return r;
	find_candidates(home, &nodes, &list);
	if (budget_gib < 0 || __builtin_mul_overflow((uint64_t)budget_gib, GIB, &budget))
		budget = UINT64_MAX;
	r = prune(home, &nodes, &list, older_than_days, budget, all, removed, err);
	if (r == 0 && all)
		r = remove_all_pulls(home, removed, err);
	return r < 0 || !all ? r : cache_collect(home, err);
}

/* What is missing of @needed bytes on the cache's file system. */
static uint64_t missing_bytes(const struct home *home, uint64_t needed)
{
	struct statvfs fs;
	uint64_t available;

	if (getenv("TART_NO_AUTO_PRUNE") || statvfs(home->cache, &fs) < 0)
		return 0;
	available = (uint64_t)fs.f_bavail * fs.f_frsize;
	/* one without blocks, such as a tmpfs without a limit, does not say what it has */
	return !fs.f_blocks || !needed || needed < available ? 0 : needed - available + 1;
}

static bool may_go(const struct candidate *c, const struct digest *keep)
{
	return c->disk && (!keep || !digest_equal(&c->image->digest, keep));
}

/* Do the images and the pulls, which go first, make @missing bytes? */
static bool is_enough(const struct home *home, struct candidates *list,
		      const struct cache_leftovers *pulls, const struct digest *keep,
		      uint64_t missing)
{
	uint64_t most = 0, sum = 0;

	for (size_t i = 0; i < pulls->len; i++)
		sum += pulls->items[i].size;
	for (size_t i = 0; i < list->len; i++)
		most += may_go(&list->items[i], keep) ? list->items[i].disk : 0;
	if (sum + most < missing) /* without looking closer */
		return false;
	for (size_t i = 0; i < list->len && sum < missing; i++)
		if (may_go(&list->items[i], keep))
			sum += gain_of(home, &list->items[i]);
	return sum >= missing;
}

static int make_room(const struct home *home, const struct cache_nodes *nodes,
		     struct candidates *list, const struct digest *keep, uint64_t missing,
		     struct str *removed, struct error *err)
{
	auto_cache_leftovers pulls = { 0 };
	uint64_t done = 0;
	int r = cache_find_leftovers(home, /* measure= */ true, &pulls, err);

	if (r < 0 || !is_enough(home, list, &pulls, keep, missing))
		return r;
	for (size_t i = 0; r >= 0 && i < pulls.len && done < missing; i++) {
		if (!pulls.items[i].size)
			continue;
		r = remove_pull(home, &pulls.items[i], removed, err);
		done += r > 0 ? pulls.items[i].size : 0;
	}
	/* one that somebody reads stays, and a newer one goes in its place */
	for (size_t i = 0; r >= 0 && i < list->len && done < missing; i++) {
		struct candidate *c = &list->items[i];

		if (!may_go(c, keep) || !gain_of(home, c))
			continue;
		r = remove_candidate(home, nodes, c, removed, err);
		done += r > 0 ? c->gain : 0;
	}
	return r < 0 ? r : 0;
}

int cache_reclaim(const struct home *home, uint64_t needed, const struct digest *keep,
		  struct str *removed, struct error *err)
{
	uint64_t missing = missing_bytes(home, needed);
	auto_fd lock = -1;
	auto_cache_nodes nodes = { 0 };
	auto_candidates list = { 0 };
	int r;

	if (!missing)
		return 0;
	lock = cache_lock(home, err);
	r = lock < 0 ? lock : cache_walk(home, /* sweep= */ true, &nodes, err);
	if (r < 0)
		return r;
	find_candidates(home, &nodes, &list);
	return make_room(home, &nodes, &list, keep, missing, removed, err);
}
