/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * `root` is the folder that the stream's "." has become. Every path of the stream is first made
 * plain (no empty parts, no "."; ".." and a leading '/' end the copy) and split into a folder and
 * a last part. The folder is opened beneath root by openat2(2), which refuses every symbolic
 * link on the way; the last part is made with calls that follow none. So neither a link that the
 * stream made nor one that was there leads anywhere else.
 *
 * A file is made anew, without a name, and takes its place when it is whole: so nothing is written
 * through a hard link either, and the old file stays where a copy breaks off.
 *
 * A folder's mode and time are set when the stream has left it, since until then files are made
 * in it: `open` holds those that the next entry may be in.
 */

#include "agent/tree_receive.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/tar.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

#define TEMPORARY ".linzer-cp-"
enum { PERMISSIONS = 0777, TEMPORARY_RANDOM = 8 };

struct folder {
	char *path; /* plain, beneath root; empty: root */
	mode_t mode;
	struct timespec mtime;
};

DEFINE_VEC(folders, struct folder)

struct tree_receive {
	int dir;
	char *name;
	enum tree_receive_kind kind;
	struct tar_reader *reader;
	bool has_root; /* the name was made */
	int root; /* its folder */
	struct folders open;
	char *parent_path; /* of the folder that `parent` is */
	int parent;

	int fd; /* the file that is being written, or -1 */
	int file_dir; /* where it shall be: parent or dir */
	char *file_name;
	char temporary[sizeof(TEMPORARY) +
		       2 * TEMPORARY_RANDOM]; /* its name until then; empty: none */
	mode_t mode;
	struct timespec mtime;
	uint64_t written;
	uint64_t left_out;
};

static int hostile(struct error *err, const char *what)
{
	return error_set(err, E_PROTOCOL, "the guest sent %s", what);
}

/* ---- paths ---- */

/* Return: 0 and the plain form of @path, "" for the root itself; or error. */
static int make_plain(const char *path, struct str *plain, struct error *err)
{
	if (*path == '/')
		return hostile(err, "an absolute path");
	while (*path) {
		size_t n = strcspn(path, "/");

		if (n == 2 && path[0] == '.' && path[1] == '.')
			return hostile(err, "a path that leads out of the folder");
		if (n && !(n == 1 && *path == '.')) {
			if (plain->len)
				str_addc(plain, '/');
			str_add(plain, path, n);
		}
		path += n;
		path += *path == '/';
	}
	return 0;
}

static int open_beneath(int root, const char *path, struct error *err)
{
	const struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof(how));

	if (fd < 0 && errno == ELOOP)
		return error_set(err, ELOOP, "'%s' is a link, which is not followed", path);
	return fd < 0 ? error_errno(err, "cannot open '%s'", path) : (int)fd;
}

/* Split @plain. Return: an fd of its folder, which is @receive's, with *last set; or error. */
static int open_parent(struct tree_receive *receive, const char *plain, const char **last,
		       struct error *err)
{
	const char *slash = strrchr(plain, '/');
	auto_free char *path = xstrndup(plain, slash ? (size_t)(slash - plain) : 0);

	*last = slash ? slash + 1 : plain;
	if (receive->parent_path && strcmp(path, receive->parent_path) == 0)
		return receive->parent;
	cleanup_close_(&receive->parent);
	free(take(receive->parent_path));
	receive->parent = open_beneath(receive->root, path, err);
	if (receive->parent >= 0)
		receive->parent_path = take(path);
	return receive->parent;
}

/* ---- folders ---- */

static int close_folder(struct tree_receive *receive, const struct folder *folder,
			struct error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, folder->mtime };
	auto_fd fd = open_beneath(receive->root, folder->path, err);
	auto_free char *self = str_format("/proc/self/fd/%d", fd);

	if (fd < 0)
		return fd;
	if (chmod(self, folder->mode) < 0 || utimensat(AT_FDCWD, self, times, 0) < 0)
		return error_errno(err, "cannot set the mode and time of '%s'", folder->path);
	return 0;
}

static bool is_in(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return !len || (strncmp(path, folder, len) == 0 && (path[len] == '/' || !path[len]));
}

/* Close the folders that @path is not in; NULL: all. */
static int leave_folders(struct tree_receive *receive, const char *path, struct error *err)
{
	struct folders *open = &receive->open;
	int r = 0;

	while (r == 0 && open->len && !(path && is_in(path, open->items[open->len - 1].path))) {
		r = close_folder(receive, &open->items[open->len - 1], err);
		free(open->items[--open->len].path);
	}
	return r;
}

static void enter_folder(struct tree_receive *receive, const char *path,
			 const struct tar_entry *entry)
{
	struct folder folder = { xstrdup(path), entry->mode & PERMISSIONS, entry->mtime };
	struct folders *open = &receive->open;

	if (open->len &&
	    strcmp(open->items[open->len - 1].path, path) == 0) /* a stream may repeat it */
		free(open->items[--open->len].path);
	folders_add(open, folder);
}

/* Return: 1 made; 0 there was one; or error. */
static int make_folder(int dir, const char *name, struct error *err)
{
	struct stat st;

	if (mkdirat(dir, name, 0700) == 0)
		return 1;
	if (errno != EEXIST || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, "cannot make the folder '%s'", name);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, ENOTDIR, "'%s' is there and no folder", name);
	return 0;
}

static int add_root(struct tree_receive *receive, const struct tar_entry *entry, struct error *err)
{
	int made;

	if (receive->has_root)
		return hostile(err, "the folder twice");
	made = make_folder(receive->dir, receive->name, err);
	if (made < 0)
		return made;
	receive->root = openat(receive->dir, receive->name,
			       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (receive->root < 0)
		return error_errno(err, "cannot open '%s'", receive->name);
	receive->has_root = true;
	if (made || receive->kind == RECEIVE_FOLDER)
		enter_folder(receive, "", entry);
	return 0;
}

/* ---- files and links ---- */

/* A folder does not give way to a file or link. */
static int check_old(int dir, const char *name, struct error *err)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, "cannot look at '%s'", name);
	return S_ISDIR(st.st_mode) ? error_set(err, EISDIR, "'%s' is a folder", name) : 0;
}

/* @name has the size of tree_receive.temporary. */
static void name_temporary(char *name)
{
	memcpy(name, TEMPORARY, sizeof(TEMPORARY));
	fs_random_hex(name + sizeof(TEMPORARY) - 1, TEMPORARY_RANDOM);
}

/* Without a name where the file system can do that. */
static int open_new(struct tree_receive *receive, int dir)
{
	int fd = openat(dir, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);

	receive->temporary[0] = '\0';
	if (fd >= 0)
		return fd;
	name_temporary(receive->temporary);
	return openat(dir, receive->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		      0600);
}

static int add_file(struct tree_receive *receive, int dir, const char *name,
		    const struct tar_entry *entry, struct error *err)
{
	receive->fd = open_new(receive, dir);
	if (receive->fd < 0) {
		receive->temporary[0] = '\0';
		return error_errno(err, "cannot make '%s'", name);
	}
	receive->file_dir = dir;
	receive->file_name = xstrdup(name);
	receive->mode = entry->mode & PERMISSIONS;
	receive->mtime = entry->mtime;
	receive->written = 0;
	return 0;
}

/* Give the file its name, at once, whatever had it. */
static int publish(struct tree_receive *receive, struct error *err)
{
	auto_free char *self = str_format("/proc/self/fd/%d", receive->fd);
	int dir = receive->file_dir;

	if (!receive->temporary[0]) {
		if (linkat(AT_FDCWD, self, dir, receive->file_name, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		name_temporary(receive->temporary);
		if (errno != EEXIST ||
		    linkat(AT_FDCWD, self, dir, receive->temporary, AT_SYMLINK_FOLLOW) < 0)
			return error_errno(err, "cannot make '%s'", receive->file_name);
	}
	if (renameat(dir, receive->temporary, dir, receive->file_name) < 0)
		return error_errno(err, "cannot replace '%s'", receive->file_name);
	receive->temporary[0] = '\0';
	return 0;
}

static int make_symlink(int dir, const char *name, const struct tar_entry *entry)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, entry->mtime };

	return symlinkat(entry->target, dir, name) < 0 ||
			       utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0
		       ? -1
		       : 0;
}

/* What a hard link is to: a file that has come before, which the guest has named; so it is beneath
 * root as well. Return: its folder, and @name in it; or error. */
static int find_first(const struct tree_receive *receive, const struct tar_entry *entry,
		      struct str *name, struct error *err)
{
	auto_str plain = STR_INIT;
	const char *slash;
	int r = make_plain(entry->target, &plain, err);

	if (r < 0)
		return r;
	slash = strrchr(plain.ptr, '/');
	str_adds(name, slash ? slash + 1 : plain.ptr);
	str_set_len(&plain, slash ? (size_t)(slash - plain.ptr) : 0);
	return open_beneath(receive->root, plain.ptr, err);
}

/* In place of an old file only when it is there. */
static int add_link(struct tree_receive *receive, int dir, const char *name,
		    const struct tar_entry *entry, struct error *err)
{
	bool hard = entry->kind != TAR_SYMLINK;
	auto_str first = STR_INIT;
	auto_fd from = hard ? find_first(receive, entry, &first, err) : -1;
	char temporary[sizeof(receive->temporary)];
	int r;

	if (hard && from < 0)
		return from;
	name_temporary(temporary);
	r = hard ? linkat(from, first.ptr, dir, temporary, 0) : make_symlink(dir, temporary, entry);
	if (r == 0)
		r = renameat(dir, temporary, dir, name);
	if (r < 0)
		r = error_errno(err, "cannot make the %slink '%s'", hard ? "hard " : "", name);
	/* of two names of one file rename() leaves both */
	(void)unlinkat(dir, temporary, 0);
	return r;
}

/* All but root. */
static int add_named(struct tree_receive *receive, int dir, const char *name,
		     const struct tar_entry *entry, struct error *err)
{
	int r = check_old(dir, name, err);

	if (r < 0)
		return r;
	if (entry->kind == TAR_FILE)
		return add_file(receive, dir, name, entry, err);
	return add_link(receive, dir, name, entry, err);
}

/* ---- events of the stream ---- */

static int add_only(struct tree_receive *receive, const struct tar_entry *entry, struct error *err)
{
	if (receive->has_root || (entry->kind != TAR_FILE && entry->kind != TAR_SYMLINK))
		return hostile(err, "something else than the one file");
	receive->has_root = true;
	return add_named(receive, receive->dir, receive->name, entry, err);
}

static int add_inside(struct tree_receive *receive, const char *plain,
		      const struct tar_entry *entry, struct error *err)
{
	const char *name;
	int dir, r = leave_folders(receive, plain, err);

	if (r < 0)
		return r;
	dir = open_parent(receive, plain, &name, err);
	if (dir < 0)
		return dir;
	if (entry->kind != TAR_FOLDER)
		return add_named(receive, dir, name, entry, err);
	r = make_folder(dir, name, err);
	if (r >= 0)
		enter_folder(receive, plain, entry);
	return r < 0 ? r : 0;
}

static int on_entry(void *arg, const struct tar_entry *entry, struct error *err)
{
	struct tree_receive *receive = arg;
	auto_str plain = STR_INIT;
	int r;

	if (entry->kind == TAR_OTHER) {
		receive->left_out++;
		return 0;
	}
	r = make_plain(entry->path, &plain, err);
	if (r < 0)
		return r;
	if (receive->kind == RECEIVE_FILE)
		return add_only(receive, entry, err);
	if (!plain.len && entry->kind == TAR_FOLDER)
		return add_root(receive, entry, err);
	if (!plain.len || !receive->has_root)
		return hostile(err, "files without their folder");
	r = add_inside(receive, plain.ptr, entry, err);
	return r < 0 ? error_wrap(err, "%s", plain.ptr) : 0;
}

static int on_data(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	struct tree_receive *receive = arg;
	int r;

	if (receive->fd < 0) /* of an entry that is left out */
		return 0;
	r = fs_pwrite_sparse(receive->fd, bytes, len, (off_t)receive->written, err);
	receive->written += len;
	return r < 0 ? error_wrap(err, "cannot write '%s'", receive->file_name) : 0;
}

static int end_file(struct tree_receive *receive, struct error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, receive->mtime };

	int r;

	if (ftruncate(receive->fd, (off_t)receive->written) < 0 ||
	    fchmod(receive->fd, receive->mode) < 0 || futimens(receive->fd, times) < 0)
		return error_errno(err, "cannot write '%s'", receive->file_name);
	r = publish(receive, err);
	if (r < 0)
		return r;
	if (close(take_fd(&receive->fd)) < 0)
		return error_errno(err, "cannot write '%s'", receive->file_name);
	free(take(receive->file_name));
	return 0;
}

static int on_ended(void *arg, struct error *err)
{
	struct tree_receive *receive = arg;

	return receive->fd < 0 ? 0 : end_file(receive, err);
}

static const struct tar_events events = { on_entry, on_data, on_ended };

/* ---- from outside ---- */

struct tree_receive *tree_receive_new(int dir, const char *name, enum tree_receive_kind kind)
{
	struct tree_receive *receive = xcalloc(1, sizeof(*receive));

	receive->dir = dir;
	receive->name = xstrdup(name);
	receive->kind = kind;
	receive->reader = tar_reader_new(&events, receive);
	receive->root = receive->parent = receive->fd = -1;
	receive->open = (struct folders)VEC_INIT;
	return receive;
}

void tree_receive_free(struct tree_receive *receive)
{
	if (!receive)
		return;
	if (receive->temporary[0])
		(void)unlinkat(receive->file_dir, receive->temporary, 0);
	cleanup_close_(&receive->fd);
	cleanup_close_(&receive->parent);
	cleanup_close_(&receive->root);
	while (receive->open.len)
		free(receive->open.items[--receive->open.len].path);
	folders_release(&receive->open);
	tar_reader_free(receive->reader);
	free(receive->parent_path);
	free(receive->file_name);
	free(receive->name);
	free(receive);
}

int tree_receive_feed(struct tree_receive *receive, const uint8_t *bytes, size_t len,
		      struct error *err)
{
	return tar_reader_feed(receive->reader, bytes, len, err);
}

int tree_receive_finish(struct tree_receive *receive, struct error *err)
{
	int r = tar_reader_finish(receive->reader, err);

	if (r == 0 && !receive->has_root && receive->left_out)
		r = error_set(err, E_FAILED, "devices, pipes and sockets are not copied");
	if (r == 0 && !receive->has_root)
		r = hostile(err, "nothing");
	return r < 0 ? r : leave_folders(receive, NULL, err);
}

uint64_t tree_receive_left_out(const struct tree_receive *receive)
{
	return receive->left_out;
}
