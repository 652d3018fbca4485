/* SPDX-License-Identifier: Apache-2.0 */

/* Images that appear in the cache, are found there and deleted from it, one by one. */

#include "store/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/str.h"
#include "store/cache_tree.h"
#include "store/home.h"

static int not_found(const struct oci_name *name, struct error *err)
{
	auto_str text = STR_INIT;

	oci_name_add(name, &text);
	return vm_not_found(text.ptr, err);
}

/*
 * The directory that @name stands for in its @repository, unlocked. Return: fd; -1 there is none.
 */
static int open_image(int repository, const struct oci_name *name, struct digest *digest)
{
	char text[DIGEST_TEXT];

	if (name->digest ? digest_parse(name->digest, digest) < 0
			 : !cache_read_tag(repository, name->tag, digest))
		return -1;
	digest_format(digest, text);
	return openat(repository, text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* What a tag named may go while we look at it: then it names something else by now. */
static bool has_moved(int repository, const struct oci_name *name, const struct digest *from)
{
	struct digest now;

	return name->tag && cache_read_tag(repository, name->tag, &now) &&
	       !digest_equal(&now, from);
}

/*
 * The same, under the shared lock that keeps it where it is. Whoever has the exclusive one either
 * builds it or takes it away, and is quick about it.
 */
static int lock_image(int repository, const struct oci_name *name, struct digest *digest)
{
	do {
		auto_fd fd = open_image(repository, name, digest);
		char text[DIGEST_TEXT];

		digest_format(digest, text);
		if (fd >= 0 && flock(fd, LOCK_SH) == 0 && lock_still_names(fd, repository, text) &&
		    cache_is_whole(fd))
			return take_fd(&fd);
	} while (has_moved(repository, name, digest));
	return -1;
}

int cache_open(const struct home *home, const struct oci_name *name, bool quiet, struct vm *vm,
	       struct error *err)
{
	auto_fd repository = cache_open_repository(home, name, /* create= */ false, err);
	auto_fd image = -1;
	struct cache_node node = { .name = *name };
	struct str text = STR_INIT;

	if (repository == -ENOENT)
		return not_found(name, err);
	if (repository < 0)
		return repository;
	image = lock_image(repository, name, &node.digest);
	if (image < 0)
		return not_found(name, err);
	node.repository = cache_repository_path(name);
	oci_name_add(name, &text);
	*vm = (struct vm){ .name = str_detach(&text),
			   .path = cache_image_path(home, &node),
			   .dir = take_fd(&image) };
	free(node.repository);
	if (!quiet)
		vm_touch(vm);
	return 0;
}

int cache_find(const struct home *home, const struct oci_name *name, struct digest *digest,
	       struct error *err)
{
	auto_fd repository = cache_open_repository(home, name, /* create= */ false, err);
	struct digest found = { 0 };

	if (repository < 0)
		return repository == -ENOENT ? 0 : repository;
	do {
		auto_fd image = open_image(repository, name, &found);

		if (image >= 0 && cache_is_whole(image)) {
			*digest = found;
			return 1;
		}
	} while (has_moved(repository, name, &found));
	return 0;
}

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static int sync_file(int dir, const char *name, struct error *err)
{
	auto_fd fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) && fsync(fd) < 0))
		return error_errno(err, "cannot write '%s'", name);
	/* other directories may have names for it: nobody writes to it from now on */
	if (S_ISREG(st.st_mode) &&
	    (strcmp(name, "disk.img") == 0 || str_starts(name, "overlay-")) && fchmod(fd, 0400) < 0)
		return error_errno(err, "cannot change the mode of '%s'", name);
	return 0;
}

static int put_mark(int image, const char *mark, struct error *err)
{
	auto_fd fd = fs_open(image, mark, O_WRONLY | O_CREAT | O_NOFOLLOW, err);

	return fd < 0 ? fd : 0;
}

/* All files, then the directory. It gets the mark that it has no tag yet. */
static int sync_image(const char *path, struct error *err)
{
	cleanup_(close_dir) DIR *d = opendir(path);
	struct dirent *e;
	int r = 0;

	if (!d)
		return error_errno(err, "cannot open '%s'", path);
	r = put_mark(dirfd(d), CACHE_NEW, err);
	while (r == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = sync_file(dirfd(d), e->d_name, err);
	if (r == 0 && fsync(dirfd(d)) < 0)
		r = error_errno(err, "cannot write '%s'", path);
	return r;
}

/*
 * Is a whole image of that digest there? One that is not whole makes room. Return: 1, 0 or error.
 */
static int is_there(const struct home *home, const struct cache_node *node, struct error *err)
{
	auto_free char *path = cache_image_path(home, node);
	auto_fd old = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (old < 0)
		return 0;
	if (cache_is_whole(old))
		return 1;
	r = cache_remove_image(home, node, err);
	return r < 0 ? r : 0;
}

static int appear(const struct home *home, const struct oci_name *name,
		  const struct cache_node *node, const char *built, struct error *err)
{
	auto_free char *path = cache_image_path(home, node);
	auto_fd repository = cache_open_repository(home, name, /* create= */ true, err);

	if (repository < 0)
		return repository;
	/* without flags, which not every file system knows: a directory replaces only an empty one
	 */
	if (rename(built, path) < 0)
		return error_errno(err, "cannot create '%s'", path);
	return fs_sync_dir(repository, ".", err);
}

int cache_publish(const struct home *home, const struct oci_name *name, const struct digest *digest,
		  const char *built, struct error *err)
{
	auto_free char *path = cache_repository_path(name);
	struct cache_node node = { .repository = path, .digest = *digest };
	auto_fd lock = -1;
	int r = sync_image(built, err);

	if (r < 0)
		return r;
	lock = cache_lock(home, err);
	r = lock < 0 ? lock : is_there(home, &node, err);
	if (r == 0)
		return appear(home, name, &node, built, err);
	return r < 0 ? r : fs_remove_tree(AT_FDCWD, built, err);
}

/* A new link is made beside the tag and renamed over it, so that the tag always names something. */
static int replace_link(int repository, const char *tag, const char *digest, struct error *err)
{
	char link[sizeof(CACHE_NEW_LINK) + 16] = CACHE_NEW_LINK;

	fs_random_hex(link + strlen(CACHE_NEW_LINK), 8);
	if (symlinkat(digest, repository, link) < 0)
		return error_errno(err, "cannot create the tag '%s' in the cache", tag);
	if (renameat(repository, link, repository, tag) == 0)
		return fs_sync_dir(repository, ".", err);
	if (errno == EISDIR)
		(void)error_set(err, E_FAILED,
				"cannot create the tag '%s' in the cache: it is a part of the name "
				"of another image",
				tag);
	else
		(void)error_errno(err, "cannot create the tag '%s' in the cache", tag);
	(void)unlinkat(repository, link, 0);
	return -err->code;
}

static int mark_pulled(int image, struct error *err)
{
	int r = put_mark(image, CACHE_PULLED, err);

	return r < 0 ? r : fs_sync_dir(image, ".", err);
}

int cache_link(const struct home *home, const struct oci_name *name, const struct digest *digest,
	       struct error *err)
{
	auto_fd lock = cache_lock(home, err);
	auto_fd repository = -1;
	auto_fd image = -1;
	struct error ignored = ERROR_INIT;
	char text[DIGEST_TEXT];
	int r;

	if (lock < 0)
		return lock;
	repository = cache_open_repository(home, name, /* create= */ false, err);
	if (repository < 0)
		return repository == -ENOENT ? not_found(name, err) : repository;
	digest_format(digest, text);
	image = openat(repository, text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (image < 0 || !cache_is_whole(image))
		return not_found(name, err);
	r = name->tag ? replace_link(repository, name->tag, text, err) : mark_pulled(image, err);
	if (r < 0)
		return r;
	(void)unlinkat(image, CACHE_NEW, 0);
	/* what cannot be collected, such as what root pulled, is no failure of this image */
	(void)!cache_collect(home, &ignored);
	return 0;
}

/* The directory is removed whole or not; one that somebody reads is not. */
static int delete_digest(const struct home *home, const struct oci_name *name, int repository,
			 struct error *err)
{
	auto_free char *path = cache_repository_path(name);
	struct cache_node node = { .repository = path };
	int r;

	if (digest_parse(name->digest, &node.digest) < 0 ||
	    faccessat(repository, name->digest, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return not_found(name, err);
	r = cache_remove_image(home, &node, err);
	if (r == 0)
		return error_set(err, E_RUNNING, "the image \"%s@%s\" is in use", path,
				 name->digest);
	return r < 0 ? r : 0;
}

static int delete_tag(const struct oci_name *name, int repository, struct error *err)
{
	struct stat st;

	if (fstatat(repository, name->tag, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode))
		return not_found(name, err);
	if (unlinkat(repository, name->tag, 0) < 0)
		return error_errno(err, "cannot remove the tag '%s' from the cache", name->tag);
	return 0;
}

int cache_delete(const struct home *home, const struct oci_name *name, struct error *err)
{
	auto_fd lock = cache_lock(home, err);
	auto_fd repository = -1;
	int r;

	if (lock < 0)
		return lock;
	repository = cache_open_repository(home, name, /* create= */ false, err);
	if (repository < 0)
		return repository == -ENOENT ? not_found(name, err) : repository;
	r = name->tag ? delete_tag(name, repository, err)
		      : delete_digest(home, name, repository, err);
	return r < 0 ? r : cache_collect(home, err);
}
