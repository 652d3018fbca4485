/* SPDX-License-Identifier: Apache-2.0 */
#include "run/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"

enum { UID_FIRST = 0x70000000, UID_COUNT = 0x10000 };

static const char uid_dir[] = "/run/linzer/uid";

/* Return: 1 claimed; 0 somebody else has it; or error. */
static int try_claim(int dir, uid_t uid, struct identity *identity, struct error *err)
{
	char name[16];
	int fd;

	if (getpwuid(uid))
		return 0;
	(void)snprintf(name, sizeof(name), "%u", (unsigned)uid);
	fd = lock_file(dir, name, true, LOCK_TRY, err);
	if (fd == -EWOULDBLOCK)
		return 0;
	if (fd < 0)
		return fd;
	*identity = (struct identity){ .uid = uid, .drop = true, .lock = fd };
	return 1;
}

int identity_claim(struct identity *identity, struct error *err)
{
	auto_fd dir = -1;
	struct stat st;
	int r;

	if (geteuid() != 0) {
		*identity = (struct identity){ .uid = geteuid(), .drop = false, .lock = -1 };
		return 0;
	}
	r = fs_mkdirs(uid_dir, err);
	if (r < 0)
		return r;
	dir = fs_open(AT_FDCWD, uid_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, err);
	if (dir < 0)
		return dir;
	/* nobody else may hold or replace the locks in it */
	if (fstat(dir, &st) < 0 || (st.st_uid == 0 && fchmod(dir, 0700) < 0))
		return error_errno(err, "cannot use '%s'", uid_dir);
	if (st.st_uid != 0)
		return error_set(err, E_FAILED, "'%s' is not root's", uid_dir);
	for (uid_t n = 0; n < UID_COUNT; n++) {
		r = try_claim(dir, UID_FIRST + n, identity, err);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return error_set(err, E_FAILED, "no user id is left to run a VM as");
}

void identity_release(struct identity *identity)
{
	if (identity->lock >= 0)
		(void)close(take_fd(&identity->lock));
}
