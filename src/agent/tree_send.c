/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tree_send.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/tar.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

enum { PIECE = 64 * 1024 };

/* A file with several names: its first one in the stream. */
struct linked {
	dev_t dev;
	ino_t ino;
	char *path;
};

struct tree_send {
	FTS *fts;
	size_t root_length; /* of fts's paths, before what is in the folder */
	char *name;
	bool itself;
	bool ended;
	void *linked; /* tsearch(3) */
	struct str path; /* of the entry, in the stream */
	struct str target;
	int fd; /* the file that is being sent, or -1 */
	char *local; /* its path */
	uint64_t size, left;
	uint64_t left_out;
};

int tree_send_new(const char *path, const char *name, bool itself, struct tree_send **out,
		  struct error *err)
{
	char *root = xstrdup(path);
	char *roots[] = { root, NULL };
	struct tree_send *send = xcalloc(1, sizeof(*send));

	/* with chdir(2), it goes into a folder only if that is still the one that it has found:
	 * whoever may write there cannot lead it elsewhere by a link */
	send->fts = fts_open(roots, FTS_PHYSICAL, NULL);
	free(root);
	if (!send->fts) {
		free(send);
		return error_errno(err, "cannot read '%s'", path);
	}
	send->root_length = strlen(path);
	send->name = xstrdup(name);
	send->itself = itself;
	send->path = send->target = (struct str)STR_INIT;
	send->fd = -1;
	*out = send;
	return 0;
}

static void linked_free(void *p)
{
	struct linked *linked = p;

	free(linked->path);
	free(linked);
}

void tree_send_free(struct tree_send *send)
{
	if (!send)
		return;
	(void)fts_close(send->fts);
	tdestroy(send->linked, linked_free);
	cleanup_close_(&send->fd);
	free(send->local);
	free(send->name);
	str_release(&send->path);
	str_release(&send->target);
	free(send);
}

uint64_t tree_send_left_out(const struct tree_send *send)
{
	return send->left_out;
}

/* ---- what an entry is called and leads to ---- */

static void name_entry(struct tree_send *send, const FTSENT *found)
{
	const char *inside = found->fts_path + send->root_length;

	str_reset(&send->path);
	if (found->fts_level == FTS_ROOTLEVEL) {
		if (found->fts_info == FTS_D)
			str_adds(&send->path, ".");
		else
			str_addf(&send->path, "./%s", send->name);
		return;
	}
	while (*inside == '/')
		inside++;
	str_addf(&send->path, "./%s", inside);
}

static int compare(const void *a, const void *b)
{
	const struct linked *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino == y->ino ? 0 : x->ino < y->ino ? -1 : 1;
}

/* Return: the path of an earlier name of the same file, or NULL. */
static const char *earlier_name(struct tree_send *send, const struct stat *st)
{
	struct linked *linked = xcalloc(1, sizeof(*linked));
	struct linked **found;

	linked->dev = st->st_dev;
	linked->ino = st->st_ino;
	found = tsearch(linked, &send->linked, compare);
	if (!found)
		abort(); /* out of memory */
	if (*found == linked) {
		linked->path = xstrdup(send->path.ptr);
		return NULL;
	}
	free(linked);
	return (*found)->path;
}

static int read_link(struct tree_send *send, const char *path, struct error *err)
{
	char target[TAR_PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target));

	if (n < 0)
		return error_errno(err, "cannot read the link '%s'", path);
	if (n == (ssize_t)sizeof(target))
		return error_set(err, ENAMETOOLONG, "the link '%s' is too long", path);
	str_reset(&send->target);
	str_add(&send->target, target, (size_t)n);
	return 0;
}

/* ---- a file's bytes ---- */

/* Open the regular file that was found there, and no other. */
static int open_file(struct tree_send *send, const FTSENT *found, struct stat *st,
		     struct error *err)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	auto_fd fd = open(found->fts_accpath, flags);

	if (fd < 0 || fstat(fd, st) < 0)
		return error_errno(err, "cannot read '%s'", found->fts_path);
	if (!S_ISREG(st->st_mode) || st->st_ino != found->fts_statp->st_ino ||
	    st->st_dev != found->fts_statp->st_dev)
		return error_set(err, E_FAILED, "'%s' was replaced while it was copied",
				 found->fts_path);
	free(send->local);
	send->local = xstrdup(found->fts_path);
	send->size = send->left = (uint64_t)st->st_size;
	send->fd = take_fd(&fd);
	return 0;
}

static void end_file(struct tree_send *send, struct str *out)
{
	tar_add_padding(out, send->size);
	(void)close(take_fd(&send->fd));
}

static int add_bytes(struct tree_send *send, struct str *out, struct error *err)
{
	size_t want = send->left < PIECE ? (size_t)send->left : PIECE;
	ssize_t n;

	str_grow(out, want);
	n = want ? read(send->fd, out->ptr + out->len, want) : 0;
	if (n < 0)
		return errno == EINTR ? 1 : error_errno(err, "cannot read '%s'", send->local);
	if (n == 0 && want)
		return error_set(err, E_FAILED, "'%s' became shorter while it was copied",
				 send->local);
	str_set_len(out, out->len + (size_t)n);
	send->left -= (uint64_t)n;
	if (!send->left)
		end_file(send, out);
	return 1;
}

/* ---- entries ---- */

static int add_file(struct tree_send *send, const FTSENT *found, struct tar_entry *entry,
		    struct str *out, struct error *err)
{
	const char *earlier;
	struct stat st;
	int r;

	earlier = found->fts_statp->st_nlink > 1 ? earlier_name(send, found->fts_statp) : NULL;
	if (earlier) {
		entry->kind = TAR_HARD_LINK;
		entry->target = earlier;
		tar_add_entry(out, entry);
		return 1;
	}
	r = open_file(send, found, &st, err);
	if (r < 0)
		return r;
	entry->kind = TAR_FILE;
	entry->size = send->size;
	tar_add_entry(out, entry);
	return add_bytes(send, out, err);
}

static int add_found(struct tree_send *send, const FTSENT *found, struct str *out,
		     struct error *err)
{
	const struct stat *st = found->fts_statp;
	struct tar_entry entry = { .path = send->path.ptr,
				   .target = "",
				   .mode = st->st_mode & 07777,
				   .mtime = st->st_mtim };
	int r;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return add_file(send, found, &entry, out, err);
	case S_IFDIR:
		entry.kind = TAR_FOLDER;
		break;
	case S_IFLNK:
		r = read_link(send, found->fts_accpath, err);
		if (r < 0)
			return r;
		entry.kind = TAR_SYMLINK;
		entry.target = send->target.ptr;
		break;
	default:
		send->left_out++;
		return 1;
	}
	tar_add_entry(out, &entry);
	return 1;
}

static int found_error(const FTSENT *found, struct error *err)
{
	errno = found->fts_errno;
	return error_errno(err, "cannot read '%s'", found->fts_path);
}

static int add_next(struct tree_send *send, struct str *out, struct error *err)
{
	FTSENT *found;

	errno = 0;
	found = fts_read(send->fts);
	if (!found && errno)
		return error_errno(err, "cannot read the folder");
	if (!found) {
		send->ended = true;
		tar_add_end(out);
		return 1;
	}
	switch (found->fts_info) {
	case FTS_DP: /* an error: it was another folder by the time it was entered */
		return found->fts_errno ? found_error(found, err) : 1;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return found_error(found, err);
	case FTS_DC:
		return error_set(err, ELOOP, "'%s' is in itself", found->fts_path);
	default:
		break;
	}
	if (found->fts_level == FTS_ROOTLEVEL && found->fts_info == FTS_D && !send->itself)
		return 1;
	name_entry(send, found);
	if (send->path.len >= TAR_PATH_MAX)
		return error_set(err, ENAMETOOLONG, "'%s' is too long a path", found->fts_path);
	return add_found(send, found, out, err);
}

int tree_send_next(struct tree_send *send, struct str *out, struct error *err)
{
	size_t before = out->len;
	int r = 1;

	while (r > 0 && out->len - before < PIECE) {
		if (send->fd >= 0)
			r = add_bytes(send, out, err);
		else if (send->ended)
			break;
		else
			r = add_next(send, out, err);
	}
	return r < 0 ? r : out->len > before;
}
