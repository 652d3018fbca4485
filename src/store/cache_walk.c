/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation: cache/OCIs is walked without following a link. A directory whose name is
 * a digest is an image and not entered; any other is one more component of a repository; a link
 * whose target ends in a digest is a tag. Each name is built, parsed and turned into a path
 * again: what does not come out where it was found is nobody's image and ignored.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/cache_tree.h"
#include "store/home.h"

struct walk {
	struct cache_nodes *nodes;
	struct str path; /* of the directory, beneath cache/OCIs */
	bool sweep;
};

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Append the text that @path encodes. */
static void add_decoded(struct str *out, const char *path)
{
	for (; *path; path++) {
		int high = *path == '%' ? hex_value(path[1]) : -1;
		int low = high < 0 ? -1 : hex_value(path[2]);

		if (low < 0) {
			str_addc(out, *path);
			continue;
		}
		str_addc(out, (char)(high << 4 | low));
		path += 2;
	}
}

/* "ghcr.io/org/image", "oci:/dir" */
static void add_repository(struct str *out, const char *path)
{
	static const char layouts[] = "oci%3A";
	size_t n = strlen(layouts);

	if (!str_starts(path, layouts) || (path[n] && path[n] != '/')) {
		add_decoded(out, path);
		return;
	}
	str_adds(out, path[n] ? "oci:" : "oci:/");
	add_decoded(out, path + n);
}

/* Is it where its name would be looked for? */
static bool is_in_place(const struct oci_name *name, const char *path)
{
	auto_free char *expected = cache_repository_path(name);

	return strcmp(expected, path) == 0;
}

static void add_node(struct walk *w, const char *entry, const struct digest *digest, bool is_tag)
{
	struct cache_nodes *nodes = w->nodes;
	struct error ignored = ERROR_INIT;
	auto_oci_name name = OCI_NAME_INIT;
	auto_str text = STR_INIT;

	add_repository(&text, w->path.ptr);
	str_addf(&text, "%c%s", is_tag ? ':' : '@', entry);
	if (memchr(text.ptr, '\0', text.len) || oci_name_parse(text.ptr, &name, &ignored) < 0 ||
	    !is_in_place(&name, w->path.ptr))
		return;
	if (nodes->len == nodes->cap) {
		nodes->cap = nodes->cap ? nodes->cap * 2 : 16;
		nodes->items = xrealloc(nodes->items, nodes->cap, sizeof(nodes->items[0]));
	}
	nodes->items[nodes->len++] = (struct cache_node){
		.name = name,
		.repository = xstrdup(w->path.ptr),
		.digest = *digest,
		.is_tag = is_tag,
	};
	name = (struct oci_name)OCI_NAME_INIT;
}

static int walk_directory(struct walk *w, int fd, struct error *err);

static int enter(struct walk *w, int parent, const char *name, struct error *err)
{
	size_t len = w->path.len;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0) /* gone meanwhile, or not ours to read */
		return 0;
	if (len)
		str_addc(&w->path, '/');
	str_adds(&w->path, name);
	r = walk_directory(w, fd, err);
	str_chop(&w->path, w->path.len - len);
	if (w->sweep) /* a repository without images; fails where there are some */
		(void)unlinkat(parent, name, AT_REMOVEDIR);
	return r;
}

static unsigned char type_of(int dir, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type;
	if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return DT_UNKNOWN;
	return S_ISDIR(st.st_mode) ? DT_DIR : S_ISLNK(st.st_mode) ? DT_LNK : DT_REG;
}

static int sweep_entry(const struct walk *w, int dir, const char *name, struct error *err)
{
	if (!w->sweep || (!str_starts(name, CACHE_TRASH) && !str_starts(name, CACHE_NEW_LINK)))
		return 0;
	return fs_remove_tree(dir, name, err);
}

static int visit(struct walk *w, int dir, const struct dirent *e, struct error *err)
{
	struct digest digest;

	if (e->d_name[0] == '.')
		return sweep_entry(w, dir, e->d_name, err);
	switch (type_of(dir, e)) {
	case DT_LNK:
		if (cache_read_tag(dir, e->d_name, &digest))
			add_node(w, e->d_name, &digest, /* is_tag= */ true);
		return 0;
	case DT_DIR:
		if (digest_parse(e->d_name, &digest) < 0)
			return w->path.len + strlen(e->d_name) < (size_t)3 * OCI_NAME_MAX
				       ? enter(w, dir, e->d_name, err)
				       : 0;
		add_node(w, e->d_name, &digest, /* is_tag= */ false);
		return 0;
	default:
		return 0;
	}
}

/* @fd is closed. */
static int walk_directory(struct walk *w, int fd, struct error *err)
{
	cleanup_(close_dir) DIR *d = fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d) {
		r = error_errno(err, "cannot read the cache");
		(void)close(fd);
		return r;
	}
	while (r == 0 && (e = readdir(d)))
		r = visit(w, fd, e, err);
	return r;
}

static int by_name(const void *a, const void *b)
{
	const struct cache_node *x = a, *y = b;
	auto_str one = STR_INIT, two = STR_INIT;

	oci_name_add(&x->name, &one);
	oci_name_add(&y->name, &two);
	return strcmp(one.ptr, two.ptr);
}

/* An image and its tags have the repository and the digest in common. */
static int by_image(const void *a, const void *b)
{
	const struct cache_node *x = a, *y = b;
	int r = strcmp(x->repository, y->repository);

	if (r == 0)
		r = digest_compare(&x->digest, &y->digest);
	return r ? r : (int)x->is_tag - (int)y->is_tag; /* the image first */
}

static void match_tags(struct cache_nodes *nodes)
{
	struct cache_node *image = NULL;

	qsort(nodes->items, nodes->len, sizeof(nodes->items[0]), by_image);
	for (size_t i = 0; i < nodes->len; i++) {
		struct cache_node *n = &nodes->items[i];

		if (!n->is_tag)
			image = n;
		else if (image && strcmp(image->repository, n->repository) == 0 &&
			 digest_equal(&image->digest, &n->digest))
			image->tags++;
		else
			n->broken = true;
	}
}

int cache_walk(const struct home *home, bool sweep, struct cache_nodes *nodes, struct error *err)
{
	struct walk w = { .nodes = nodes, .path = STR_INIT, .sweep = sweep };
	int fd = cache_open_root(home, /* create= */ false, err);
	int r = fd < 0 ? fd : walk_directory(&w, fd, err);

	str_release(&w.path);
	if (r == -ENOENT) /* nothing was ever pulled */
		return 0;
	if (r < 0 || !nodes->len) /* qsort() takes no null pointer */
		return r;
	match_tags(nodes);
	qsort(nodes->items, nodes->len, sizeof(nodes->items[0]), by_name);
	return 0;
}

void cache_nodes_clear(struct cache_nodes *nodes)
{
	for (size_t i = 0; i < nodes->len; i++) {
		oci_name_release(&nodes->items[i].name);
		free(nodes->items[i].repository);
	}
	free(nodes->items);
	*nodes = (struct cache_nodes){ 0 };
}
