/* SPDX-License-Identifier: Apache-2.0 */

/* Where in cache/OCIs a name is, and what of it is there. */

#include "store/cache_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/home.h"

int cache_lock(const struct home *home, struct error *err)
{
	auto_free char *path = str_format("%s/.lock", home->cache);

	return lock_file(AT_FDCWD, path, /* create= */ true, LOCK_WAIT, err);
}

int cache_open_root(const struct home *home, bool create, struct error *err)
{
	auto_free char *path = str_format("%s/OCIs", home->cache);
	int r = create ? fs_mkdirs(path, err) : 0;

	return r < 0 ? r : fs_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, err);
}

static bool is_plain(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '_' || c == '.';
}

/* One component of a path: a leading '.' would hide it from Tart, and be one of ours. */
static void add_component(struct str *out, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (is_plain(text[i]) && (i || text[i] != '.'))
			str_addc(out, text[i]);
		else
			str_addf(out, "%%%02X", (unsigned char)text[i]);
	}
}

char *cache_repository_path(const struct oci_name *name)
{
	const char *host = name->host ? name->host : "oci:";
	struct str path = STR_INIT;

	add_component(&path, host, strlen(host));
	for (const char *c = name->repository; *c;) {
		size_t n = strcspn(c, "/");

		if (n) {
			str_addc(&path, '/');
			add_component(&path, c, n);
		}
		c += n + (c[n] == '/');
	}
	return str_detach(&path);
}

/* @part of the directory @dir, which is closed. Return: fd. */
static int open_part(int dir, const char *part, bool create, const char *path, struct error *err)
{
	auto_fd parent = dir;
	int fd;

	if (create && mkdirat(parent, part, 0700) < 0 && errno != EEXIST)
		return error_errno(err, "cannot create '%s' in the cache", path);
	fd = openat(parent, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (create && (errno == ENOTDIR || errno == ELOOP))
		return error_set(
			err, E_FAILED,
			"cannot create '%s' in the cache: '%s' is the tag of another image", path,
			part);
	if (errno == ENOTDIR || errno == ELOOP)
		errno = ENOENT; /* a name that nothing can be cached by */
	return error_errno(err, "cannot open '%s' in the cache", path);
}

int cache_open_repository(const struct home *home, const struct oci_name *name, bool create,
			  struct error *err)
{
	auto_free char *path = cache_repository_path(name);
	auto_free char *part = NULL;
	int fd = cache_open_root(home, create, err);

	for (const char *c = path; *c && fd >= 0;) {
		size_t n = strcspn(c, "/");

		free(part);
		part = str_format("%.*s", (int)n, c);
		fd = open_part(fd, part, create, path, err);
		c += n + (c[n] == '/');
	}
	return fd;
}

int cache_read_tag(int repository, const char *tag, struct digest *digest)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(repository, tag, target, sizeof(target) - 1);
	const char *last;

	if (n < 0)
		return 0;
	target[n] = '\0';
	/* Tart's links are absolute; whatever was moved, the image is beside its tag */
	last = strrchr(target, '/');
	return digest_parse(last ? last + 1 : target, digest) == 0;
}

bool cache_is_whole(int image)
{
	static const char *const files[] = { "config.json", "disk.img", "nvram.bin" };
	struct stat st;

	for (size_t i = 0; i < array_size(files); i++)
		if (fstatat(image, files[i], &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			return false;
	return true;
}

char *cache_image_path(const struct home *home, const struct cache_node *node)
{
	char text[DIGEST_TEXT];

	digest_format(&node->digest, text);
	return str_format("%s/OCIs/%s/%s", home->cache, node->repository, text);
}

void cache_remove_empty(const struct home *home, const char *repository)
{
	auto_free char *part = xstrdup(repository);

	for (;;) {
		auto_free char *path = str_format("%s/OCIs/%s", home->cache, part);
		char *slash = strrchr(part, '/');

		if (rmdir(path) < 0 || !slash)
			return;
		*slash = '\0';
	}
}

/*
 * The lock is taken on what the path names now. The holder of cache_lock() is the only one who
 * renames, so it still does afterwards.
 */
int cache_remove_image(const struct home *home, const struct cache_node *node, struct error *err)
{
	auto_free char *path = cache_image_path(home, node);
	auto_free char *trash = NULL;
	char random[17];
	auto_fd dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? 0
			       : error_errno(err, "cannot open '%s'", path);
	if (flock(dir, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : error_errno(err, "cannot lock '%s'", path);
	fs_random_hex(random, 8);
	trash = str_format("%s/OCIs/" CACHE_TRASH "%s", home->cache, random);
	if (rename(path, trash) < 0)
		return error_errno(err, "cannot remove '%s'", path);
	cache_remove_empty(home, node->repository);
	return fs_remove_tree(AT_FDCWD, trash, err) < 0 ? -err->code : 1;
}
