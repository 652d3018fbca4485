/* SPDX-License-Identifier: Apache-2.0 */
#include "run/dir_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/libexec.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/str.h"
#include "run/dir_cache.h"
#include "run/identity.h"
#include "store/home.h"

enum { ARCHIVE_FD = 3, FOLDER_FD = 4, UNPACK_MS = 3600 * 1000 };
/* The guest is the owner of this one, and can lock it; not so of the volume, which we must remove.
 */
static const char folder_name[] = "files";

static int fetch_one(struct dir_archives *archives, const struct dir_options *dirs, size_t option,
		     const struct home *home, const struct identity *identity, struct error *err)
{
	const char *url = dirs->items[option].path;
	int fd = dir_cache_open(home, url, identity, err);

	if (fd < 0) {
		auto_free char *shown = dir_url_shown(url);

		return error_wrap(err, "--dir %s", shown);
	}
	archives->items[archives->count++] =
		(struct dir_archive){ .option = option, .file = fd, .lock = -1 };
	return 0;
}

/* No identity is claimed where nothing is fetched. The VM's own, claimed when it starts, unpacks.
 */
int dir_archives_fetch(struct dir_archives *archives, const struct dir_options *dirs,
		       const struct home *home, struct error *err)
{
	auto_identity fetcher = IDENTITY_INIT;
	int r = 0;

	for (size_t i = 0; r == 0 && i < dirs->len; i++) {
		if (!dirs->items[i].is_url)
			continue;
		if (archives->count == 0)
			r = identity_claim(&fetcher, err);
		if (r == 0)
			r = fetch_one(archives, dirs, i, home, &fetcher, err);
	}
	return r;
}

static char *fresh_path(const struct home *home)
{
	char uuid[FS_UUID_SIZE];

	fs_random_uuid(uuid);
	return str_format("%s/%s.volume", home->tmp, uuid);
}

static int make_volume(struct dir_archive *archive, const struct home *home, struct error *err)
{
	archive->lock = home_new_dir(home, fresh_path, &archive->volume, err);
	return archive->lock < 0 ? archive->lock : 0;
}

/* Return: the folder to unpack into, the unpacker's. */
static int make_folder(const struct dir_archive *archive, const struct identity *identity,
		       struct error *err)
{
	auto_fd fd = -1;

	if (mkdirat(archive->lock, folder_name, 0700) < 0)
		return error_errno(err, "cannot create a directory");
	fd = fs_open(archive->lock, folder_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, err);
	if (fd < 0)
		return fd;
	if (fchmod(fd, 0755) < 0 ||
	    (identity->drop && fchown(fd, identity->uid, identity->uid) < 0))
		return error_errno(err, "cannot create a directory");
	return take_fd(&fd);
}

/* Nobody but the engine's user meets the archive's bytes (archive/jail.h). */
static int run_unpack(const struct dir_archive *archive, int folder,
		      const struct identity *identity, struct error *err)
{
	static const char *const environment[] = { "LC_ALL=C.UTF-8", NULL };
	auto_free char *program = libexec_path("linzer-archive", "LINZER_ARCHIVE");
	const char *const argv[] = { program, "unpack", NULL };
	const struct process_fd fds[] = { { archive->file, ARCHIVE_FD }, { folder, FOLDER_FD } };
	const struct process_spec spec = { .argv = argv,
					   .env = environment,
					   .fds = fds,
					   .fd_count = array_size(fds),
					   .uid = identity->uid,
					   .gid = identity->uid,
					   .drop = identity->drop,
					   .no_new_privs = true };
	auto_str errors = STR_INIT;
	int r = process_run(&spec, NULL, NULL, 0, &errors, UNPACK_MS, err);

	errors.ptr[strcspn(errors.ptr, "\n")] = '\0';
	if (r >= 128)
		return error_set(err, E_FAILED, "the archive was too much to unpack (signal %d)",
				 r - 128);
	if (r > 0)
		return error_set(err, E_FAILED, "%s",
				 *errors.ptr ? errors.ptr : "linzer-archive failed");
	return r;
}

static int unpack_one(struct dir_archive *archive, const struct home *home,
		      const struct identity *identity, struct error *err)
{
	auto_fd folder = -1;
	int r = make_volume(archive, home, err);

	if (r < 0)
		return r;
	folder = make_folder(archive, identity, err);
	return folder < 0 ? folder : run_unpack(archive, folder, identity, err);
}

static int unpack_all(struct dir_archives *archives, struct dir_options *dirs,
		      const struct home *home, const struct identity *identity, struct error *err)
{
	for (size_t i = 0; i < archives->count; i++) {
		struct dir_archive *archive = &archives->items[i];
		struct dir_option *option = &dirs->items[archive->option];

		if (unpack_one(archive, home, identity, err) < 0) {
			auto_free char *shown = dir_url_shown(option->path);

			return error_wrap(err, "--dir %s", shown);
		}
		(void)puts("Unarchived into a temporary directory!");
		free(option->path);
		option->path = str_format("%s/%s", archive->volume, folder_name);
	}
	return 0;
}

int dir_archives_unpack(struct dir_archives *archives, struct dir_options *dirs,
			const struct home *home, const struct identity *identity, struct error *err)
{
	int r = unpack_all(archives, dirs, home, identity, err);

	if (r < 0) /* before anybody hears of it */
		dir_archives_release(archives);
	return r;
}

void dir_archives_release(struct dir_archives *archives)
{
	for (size_t i = 0; i < archives->count; i++) {
		struct dir_archive *archive = &archives->items[i];
		struct error err = ERROR_INIT;

		if (archive->volume && fs_remove_tree(AT_FDCWD, archive->volume, &err) < 0)
			(void)fprintf(stderr, "%s\n", err.text);
		free(archive->volume);
		cleanup_close_(&archive->lock);
		cleanup_close_(&archive->file);
	}
	archives->count = 0;
}
