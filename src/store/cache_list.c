/* SPDX-License-Identifier: Apache-2.0 */

/* What is in the cache, and what of it nobody wants any more. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"
#include "store/cache.h"
#include "store/cache_tree.h"
#include "store/home.h"

enum { DAY = 86400, PULL_DAYS = 7 };

/* NOLINTNEXTLINE(readability-non-const-parameter): @path is the entry's from now on */
static void add_entry(struct cache_entries *entries, const struct cache_node *node, char *path,
		      time_t accessed)
{
	struct cache_entry *entry;

	if (entries->len == entries->cap) {
		entries->cap = entries->cap ? entries->cap * 2 : 16;
		entries->items = xrealloc(entries->items, entries->cap, sizeof(entries->items[0]));
	}
	entry = &entries->items[entries->len++];
	*entry = (struct cache_entry){ .path = path, .digest = node->digest, .accessed = accessed };
	oci_name_copy(&node->name, &entry->name);
}

int cache_list(const struct home *home, struct cache_entries *entries, struct error *err)
{
	auto_cache_nodes nodes = { 0 };
	int r = cache_walk(home, /* sweep= */ false, &nodes, err);

	for (size_t i = 0; r == 0 && i < nodes.len; i++) {
		auto_free char *path = cache_image_path(home, &nodes.items[i]);
		struct vm image = { .dir = open(path,
						O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) };

		if (image.dir >= 0 && cache_is_whole(image.dir))
			add_entry(entries, &nodes.items[i], take(path), vm_accessed(&image));
		if (image.dir >= 0)
			(void)close(image.dir);
	}
	return r;
}

void cache_entries_release(struct cache_entries *entries)
{
	for (size_t i = 0; i < entries->len; i++) {
		oci_name_release(&entries->items[i].name);
		free(entries->items[i].path);
	}
	free(entries->items);
	*entries = (struct cache_entries){ 0 };
}

static int remove_link(const struct home *home, const struct cache_node *node, struct error *err)
{
	auto_fd repository = cache_open_repository(home, &node->name, /* create= */ false, err);

	if (repository < 0)
		return repository == -ENOENT ? 0 : repository;
	if (unlinkat(repository, node->name.tag, 0) < 0 && errno != ENOENT)
		return error_errno(err, "cannot remove the tag '%s' from the cache",
				   node->name.tag);
	cache_remove_empty(home, node->repository);
	return 0;
}

/* One that was pulled and not linked, by somebody killed, waits as long as an unfinished pull. */
static bool is_marked(const struct home *home, const struct cache_node *node)
{
	auto_free char *path = cache_image_path(home, node);
	auto_fd dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (dir < 0)
		return false;
	return faccessat(dir, CACHE_PULLED, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	       (fstatat(dir, CACHE_NEW, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		(time(NULL) - st.st_mtime) / DAY < PULL_DAYS);
}

static int collect_node(const struct home *home, const struct cache_node *node, struct error *err)
{
	int r;

	if (node->is_tag)
		return node->broken ? remove_link(home, node, err) : 0;
	if (node->tags || is_marked(home, node))
		return 0;
	r = cache_remove_image(home, node, err);
	return r < 0 ? r : 0;
}

static int collect_pulls(const struct home *home, struct error *err)
{
	auto_cache_leftovers pulls = { 0 };
	int r = cache_find_leftovers(home, /* measure= */ false, &pulls, err);
	time_t now = time(NULL);

	for (size_t i = 0; r >= 0 && i < pulls.len; i++)
		if ((now - pulls.items[i].changed) / DAY >= PULL_DAYS)
			r = cache_remove_leftover(home, pulls.items[i].name, err);
	return r < 0 ? r : 0;
}

int cache_collect(const struct home *home, struct error *err)
{
	auto_cache_nodes nodes = { 0 };
	int r = cache_walk(home, /* sweep= */ true, &nodes, err);

	for (size_t i = 0; r == 0 && i < nodes.len; i++)
		r = collect_node(home, &nodes.items[i], err);
	return r < 0 ? r : collect_pulls(home, err);
}

int cache_gc(const struct home *home, struct error *err)
{
	auto_fd lock = cache_lock(home, err);

	return lock < 0 ? lock : cache_collect(home, err);
}
