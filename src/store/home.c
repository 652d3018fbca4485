/* SPDX-License-Identifier: Apache-2.0 */
#include "store/home.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "oci/name.h"
#include "store/stage.h"

enum { HOME_NAME_MAX = 255, DIR_TRIES = 16 };

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}
#define auto_dir cleanup_(close_dir) DIR

/* Where the home is, as the environment says; owned by the caller. */
static char *choose_path(const char *program, const char **variable)
{
	const char *vetu = strcmp(program, "vetu") == 0 ? getenv("VETU_HOME") : NULL;
	const char *path = vetu && *vetu ? vetu : getenv("TART_HOME");
	const char *user = getenv("HOME");
	const struct passwd *entry;

	*variable = vetu && *vetu ? "VETU_HOME" : "TART_HOME";
	if (path && *path)
		return xstrdup(path);
	if (!user || !*user) {
		entry = getpwuid(getuid());
		user = entry ? entry->pw_dir : "/";
	}
	return str_format("%s/.tart", user);
}

static char *make_absolute(char *path)
{
	auto_free char *given = path;
	auto_free char *here = NULL;

	if (path[0] == '/')
		return take(given);
	here = getcwd(NULL, 0);
	return str_format("%s/%s", here ? here : "", path);
}

static int make_directory(const char *path, const char *variable, struct error *err)
{
	struct error why = ERROR_INIT;
	struct stat st;
	int r = fs_mkdirs(path, &why);

	if (r == 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	return error_set(err, E_FAILED,
			 "%s is invalid: %s does not exist, yet we can't create it: %s", variable,
			 path, strerror(r < 0 ? why.code : ENOTDIR));
}

int home_open(struct home *home, const char *program, struct error *err)
{
	auto_home opened = HOME_INIT;
	const char *variable;
	int r;

	opened.path = make_absolute(choose_path(program, &variable));
	opened.vms = str_format("%s/vms", opened.path);
	opened.tmp = str_format("%s/tmp", opened.path);
	opened.cache = str_format("%s/cache", opened.path);
	r = make_directory(opened.cache, variable, err);
	if (r == 0)
		r = make_directory(opened.tmp, variable, err);
	if (r < 0)
		return r;
	*home = opened;
	/* NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
	opened = (struct home)HOME_INIT;
	return 0;
}

void home_release(struct home *home)
{
	free(home->path);
	free(home->vms);
	free(home->tmp);
	free(home->cache);
	*home = (struct home)HOME_INIT;
}

/* Return: the directory, or -ENOENT: a collector was quicker; or error. */
static int try_dir(const char *path, struct error *err)
{
	int dir;

	if (mkdir(path, 0700) < 0)
		return error_errno(err, "cannot create '%s'", path);
	dir = lock_dir(AT_FDCWD, path, LOCK_WAIT, err);
	if (dir < 0 && dir != -ENOENT)
		(void)rmdir(path);
	return dir;
}

int home_new_dir(const struct home *home, char *(*fresh_path)(const struct home *home), char **path,
		 struct error *err)
{
	for (unsigned i = 0; i < DIR_TRIES; i++) {
		auto_free char *fresh = fresh_path(home);
		int dir = try_dir(fresh, err);

		if (dir >= 0)
			*path = take(fresh);
		if (dir != -ENOENT)
			return dir;
	}
	return error_set(err, E_FAILED, "cannot create a directory in '%s'", home->tmp);
}

int home_lock(const struct home *home, struct error *err)
{
	return lock_dir(AT_FDCWD, home->path, LOCK_WAIT, err);
}

/* Remove tmp entry @name beneath @dir unless somebody holds its flock. */
static int collect(int dir, const char *name, struct error *err)
{
	struct stat st;
	auto_fd fd = -1;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return fs_remove_tree(dir, name, err);
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : error_errno(err, "cannot open '%s'", name);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return 0;
	/* published by a rename since we saw it: it is nobody's rubbish now */
	if (!lock_still_names(fd, dir, name))
		return 0;
	return fs_remove_tree(dir, name, err);
}

/* One entry that cannot go does not keep the others. Return: the first error. */
static int collect_in(const char *path, const char *prefix, struct error *err)
{
	auto_dir *d = opendir(path);
	struct dirent *e;
	int first = 0;

	if (!d)
		return errno == ENOENT ? 0 : error_errno(err, "cannot open '%s'", path);
	while ((e = readdir(d))) {
		struct error why = ERROR_INIT;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
		    !str_starts(e->d_name, prefix))
			continue;
		if (collect(dirfd(d), e->d_name, &why) < 0 && first == 0) {
			*err = why;
			first = -why.code;
		}
	}
	return first;
}

int home_collect_tmp(const struct home *home, struct error *err)
{
	struct stat tmp, vms;
	int r = collect_in(home->tmp, "", err);

	/* only where tmp/ is on another file system does anybody build in vms/ */
	if (r == 0 && stat(home->tmp, &tmp) == 0 && stat(home->vms, &vms) == 0 &&
	    tmp.st_dev != vms.st_dev)
		r = collect_in(home->vms, STAGE_PREFIX, err);
	return r;
}

int home_check_name(const char *name, struct error *err)
{
	size_t len = strlen(name);

	if (len == 0)
		return error_set(err, E_FAILED, "the name of a VM must not be empty");
	if (len > HOME_NAME_MAX)
		return error_set(
			err, E_FAILED,
			"the name of a VM must not be longer than %d bytes, this one has %zu",
			HOME_NAME_MAX, len);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '/') ||
	    oci_name_is_remote(name))
		return error_set(err, E_FAILED, "\"%s\" cannot be the name of a local VM", name);
	if (str_starts(name, STAGE_PREFIX))
		return error_set(err, E_FAILED, "names that begin with \"%s\" are reserved",
				 STAGE_PREFIX);
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return error_set(err, E_FAILED,
					 "the name of a VM must not hold control characters");
	return 0;
}

static bool is_complete(int vms, const char *name)
{
	static const char *const files[] = { "config.json", "disk.img", "nvram.bin" };
	char path[HOME_NAME_MAX + sizeof("/config.json") + 1];
	size_t len = strlen(name);

	if (len > HOME_NAME_MAX)
		return false;
	memcpy(path, name, len);
	path[len] = '/';
	for (size_t i = 0; i < array_size(files); i++) {
		struct stat st;

		memcpy(path + len + 1, files[i], strlen(files[i]) + 1);
		if (fstatat(vms, path, &st, 0) < 0)
			return false;
	}
	return true;
}

int home_list_vms(const struct home *home, struct strings *names, struct error *err)
{
	auto_dir *d = opendir(home->vms);
	struct error ignored = ERROR_INIT;
	struct dirent *e;

	if (!d)
		return errno == ENOENT ? 0 : error_errno(err, "cannot open '%s'", home->vms);
	while ((e = readdir(d)))
		if (e->d_type != DT_REG && home_check_name(e->d_name, &ignored) == 0 &&
		    is_complete(dirfd(d), e->d_name))
			strings_add(names, e->d_name);
	strings_sort(names);
	return 0;
}
