/* SPDX-License-Identifier: Apache-2.0 */
#include "net/runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/error.h"

enum { TRIES = 1000 };

/* Is it a directory of ours in which nobody else can rename anything? Only /tmp lies elsewhere. */
static bool is_ours(const char *path)
{
	struct stat st;

	return path && path[0] == '/' && stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid() && (st.st_mode & 022) == 0;
}

static bool fits(const struct str *path)
{
	return path->len + sizeof("/" RUNTIME_DIR_SOCKET) <=
	       sizeof(((struct sockaddr_un *)0)->sun_path);
}

static bool set_beneath(struct str *path, const char *parent)
{
	if (!is_ours(parent))
		return false;
	str_reset(path);
	str_addf(path, "%s/linzer-net", parent);
	return fits(path);
}

void runtime_dir_find(struct str *path)
{
	auto_free char *run = str_format("/run/user/%u", geteuid());

	if (set_beneath(path, secure_getenv("XDG_RUNTIME_DIR")) || set_beneath(path, run))
		return;
	str_reset(path);
	str_addf(path, "/tmp/linzer-net-%u", geteuid());
}

/* What is not ours cannot become so: /tmp is sticky, other parents are ours alone. */
static int check(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return error_errno(err, "cannot look at '%s'", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		return error_set(err, EPERM, "'%s' must be a directory that only you can enter",
				 path);
	return 0;
}

static int make_and_lock(const char *path, enum lock_wait wait, struct error *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_errno(err, "cannot make '%s'", path);
	if (check(path, err) < 0)
		return -err->code;
	return lock_dir(AT_FDCWD, path, wait, err);
}

int runtime_dir_lock(const char *path, enum lock_wait wait, struct error *err)
{
	int r = -ENOENT;

	/* whoever ended last removes it, perhaps while we wait for his lock */
	for (int i = 0; r == -ENOENT && i < TRIES; i++)
		r = make_and_lock(path, wait, err);
	return r;
}

void runtime_dir_remove(const char *path)
{
	auto_fd dir = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return;
	(void)unlinkat(dir, RUNTIME_DIR_SOCKET, 0);
	(void)unlinkat(dir, RUNTIME_DIR_NETWORK, AT_REMOVEDIR);
	(void)rmdir(path);
}
