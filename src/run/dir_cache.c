/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * HEX.part is what is being fetched, and the lock: whoever wants the same URL waits for it. It
 * becomes HEX.archive by a rename, while there is no HEX.json; so a crash at any moment leaves an
 * archive with the version that it has, or one without a version, which is fetched again. The
 * rename gives the lock away, too: so the version says which file it is of, by its inode.
 */

#include "run/dir_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fnv.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "run/dir_fetch.h"
#include "run/dir_option.h"
#include "store/home.h"

enum { HEX = 16 };
static const char archive_end[] = ".archive", part_end[] = ".part", json_end[] = ".json";

/* One URL's files. */
struct cached {
	char *url; /* without a password, which would be kept by what is kept */
	int dir; /* cache/archives */
	char part[HEX + 8], archive[HEX + 12], json[HEX + 8];
	int part_fd; /* the lock */
	int archive_fd; /* -1: none */
	json_t *version; /* of the archive; NULL: none */
};

static void release(struct cached *c)
{
	free(c->url);
	cleanup_close_(&c->dir);
	cleanup_close_(&c->part_fd);
	cleanup_close_(&c->archive_fd);
	json_decref(c->version);
}

/* Should two URLs ever have one name, each replaces the other's file: HEX.json tells. */
static void name_files(struct cached *c)
{
	uint64_t value = fnv_add(FNV_START, c->url, strlen(c->url));

	(void)snprintf(c->part, sizeof(c->part), "%016" PRIx64 "%s", value, part_end);
	(void)snprintf(c->archive, sizeof(c->archive), "%016" PRIx64 "%s", value, archive_end);
	(void)snprintf(c->json, sizeof(c->json), "%016" PRIx64 "%s", value, json_end);
}

static const char *word(const json_t *version, const char *key)
{
	const char *value = json_string_value(json_object_get(version, key));

	return value ? value : "";
}

/* The inode of the file behind @fd as JSON's integers are; -1: none. */
static json_int_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -1 : (json_int_t)st.st_ino;
}

/* What is broken there, or another URL's or file's, is as if it were not there. */
static void read_version(struct cached *c)
{
	struct error ignored = ERROR_INIT;
	auto_str text = STR_INIT;
	auto_json *version = NULL;

	if (fs_read_file(c->dir, c->json, DIR_FETCH_ANSWER_MAX, &text, &ignored) < 0 ||
	    json_parse_object(text.ptr, text.len, &version, &ignored) < 0 ||
	    strcmp(word(version, "url"), c->url) != 0)
		return;
	c->archive_fd = openat(c->dir, c->archive, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (c->archive_fd >= 0 &&
	    json_integer_value(json_object_get(version, "inode")) == inode_of(c->archive_fd))
		c->version = take(version);
}

static int open_cached(struct cached *c, const struct home *home, struct error *err)
{
	auto_free char *path = str_format("%s/archives", home->cache);
	int r = fs_mkdirs(path, err);

	if (r < 0)
		return r;
	name_files(c);
	c->dir = fs_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, err);
	if (c->dir < 0)
		return c->dir;
	c->part_fd = lock_file(c->dir, c->part, true, LOCK_WAIT, err);
	if (c->part_fd < 0)
		return c->part_fd;
	if (ftruncate(c->part_fd, 0) < 0)
		return error_errno(err, "cannot write '%s'", c->part);
	read_version(c);
	return 0;
}

/* What the cache has: how much, and the archive that was not used for longest. */
struct survey {
	uint64_t bytes;
	struct timespec used;
	char oldest[HEX + 12]; /* "": none */
};

static bool earlier(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

static void count_file(struct survey *survey, const struct cached *c, const char *name)
{
	struct stat st;

	if (fstatat(c->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	survey->bytes += (uint64_t)st.st_size;
	if (strcmp(name, c->archive) == 0 || !str_ends(name, archive_end) ||
	    strlen(name) >= sizeof(survey->oldest))
		return;
	if (*survey->oldest && !earlier(&st.st_mtim, &survey->used))
		return;
	survey->used = st.st_mtim;
	(void)snprintf(survey->oldest, sizeof(survey->oldest), "%s", name);
}

/* Tell @on_file of each file's name. */
static void walk(const struct cached *c,
		 void (*on_file)(struct survey *survey, const struct cached *c, const char *name),
		 struct survey *survey)
{
	int fd = openat(c->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d)))
		on_file(survey, c, e->d_name);
	if (d)
		(void)closedir(d);
	else
		cleanup_close_(&fd);
}

static struct survey look(const struct cached *c)
{
	struct survey survey = { 0 };

	walk(c, count_file, &survey);
	return survey;
}

/* What says of an archive that has gone which it was. */
static void remove_orphan(struct survey *survey, const struct cached *c, const char *name)
{
	char archive[sizeof(c->archive)];
	struct stat st;

	(void)survey;
	if (strlen(name) != strlen(c->json) || !str_ends(name, json_end))
		return;
	(void)snprintf(archive, sizeof(archive), "%.*s%s", HEX, name, archive_end);
	if (fstatat(c->dir, archive, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		(void)unlinkat(c->dir, name, 0);
}

/* What a download that was killed left, which nobody holds. */
static void remove_part(struct survey *survey, const struct cached *c, const char *name)
{
	struct error ignored = ERROR_INIT;
	auto_fd lock = -1;

	(void)survey;
	if (!str_ends(name, part_end) || strcmp(name, c->part) == 0)
		return;
	lock = lock_file(c->dir, name, false, LOCK_TRY, &ignored);
	if (lock >= 0)
		(void)unlinkat(c->dir, name, 0);
}

/* All but this one may go. Another's that comes meanwhile may lose its version, and is fetched
 * again. Whoever reads what is removed has it open. */
static void make_room(const struct cached *c)
{
	struct survey survey;

	walk(c, remove_part, NULL);
	survey = look(c);
	while (survey.bytes > DIR_CACHE_MAX && *survey.oldest &&
	       unlinkat(c->dir, survey.oldest, 0) == 0)
		survey = look(c);
	walk(c, remove_orphan, NULL);
}

static int write_version(const struct cached *c, json_t *version, struct error *err)
{
	auto_str text = STR_INIT;

	(void)json_object_set_new(version, "url", json_string(c->url));
	(void)json_object_set_new(version, "inode", json_integer(inode_of(c->part_fd)));
	json_add_compact(&text, version);
	return fs_replace_file(c->dir, c->json, text.ptr, text.len, 0600, err);
}

/* Return: 1 it is kept; 0 no later question could be answered, so it is not; or error. */
static int store(const struct cached *c, const struct str *answer, struct error *err)
{
	auto_json *version = NULL;
	int r = json_parse_object(answer->ptr, answer->len, &version, err);

	if (r < 0)
		return error_wrap(err, "linzer-archive");
	if (json_is_true(json_object_get(version, "noStore")) ||
	    (!*word(version, "etag") && !*word(version, "modified")))
		return 0;
	if (fsync(c->part_fd) < 0 || (unlinkat(c->dir, c->json, 0) < 0 && errno != ENOENT) ||
	    renameat(c->dir, c->part, c->dir, c->archive) < 0)
		return error_errno(err, "cannot keep the archive");
	r = write_version(c, version, err);
	if (r < 0)
		return r;
	make_room(c);
	return 1;
}

static int use_new(const struct cached *c, const struct str *answer, struct error *err)
{
	auto_fd fd = fs_reopen(c->part_fd, O_RDONLY, err);
	int r = fd < 0 ? fd : store(c, answer, err);

	if (r < 0)
		return r;
	if (r > 0)
		(void)puts("Cached for future invocations!");
	else
		(void)unlinkat(c->dir, c->part, 0);
	return take_fd(&fd);
}

/* Used now: its time says so. */
static int use_cached(struct cached *c)
{
	(void)printf("Using cached archive for %s...\n", c->url);
	(void)utimensat(c->dir, c->archive, NULL, 0);
	(void)unlinkat(c->dir, c->part, 0);
	return take_fd(&c->archive_fd);
}

static int use_old(struct cached *c, const char *why)
{
	struct error notice = ERROR_INIT; /* makes the text printable */

	(void)error_set(&notice, E_FAILED, "%s: %s; the archive may have changed since", c->url,
			why);
	(void)fprintf(stderr, "%s\n", notice.text);
	return use_cached(c);
}

int dir_cache_open(const struct home *home, const char *url, const struct identity *identity,
		   struct error *err)
{
	cleanup_(release) struct cached c = {
		.url = dir_url_shown(url), .dir = -1, .part_fd = -1, .archive_fd = -1
	};
	auto_str answer = STR_INIT;
	auto_str errors = STR_INIT;
	int r = open_cached(&c, home, err);

	if (r < 0)
		return r;
	if (!c.version)
		(void)printf("Downloading %s...\n", c.url);
	(void)fflush(stdout);
	r = dir_fetch(&(struct dir_fetch){ url, word(c.version, "etag"),
					   word(c.version, "modified"), c.part_fd, identity },
		      &answer, &errors, err);
	if (r == 0 && answer.len == 0 && c.version)
		return use_cached(&c);
	if (r == 0 && c.version)
		(void)printf("Downloading %s...\n", c.url);
	if (r == 0)
		r = use_new(&c, &answer, err);
	else if (r == DIR_FETCH_NOBODY_ANSWERED && c.version)
		return use_old(&c, errors.ptr);
	else if (r > 0)
		r = error_set(err, E_FAILED, "%s",
			      *errors.ptr ? errors.ptr : "linzer-archive failed");
	if (r < 0)
		(void)unlinkat(c.dir, c.part, 0);
	return r;
}
