/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/home.h"

enum { TRIES = 16 };

/* A random UUID (RFC 9562, 4), after the contract's prefix. */
static char *fresh_path(const struct home *home)
{
	char hex[33];

	fs_random_hex(hex, 16);
	hex[12] = '4';
	hex[16] = "89ab"[(unsigned char)hex[16] % 4];
	return str_format("%s/run-disk-%.8s-%.4s-%.4s-%.4s-%.12s", home->tmp, hex, hex + 8,
			  hex + 12, hex + 16, hex + 20);
}

/* Return: 1 made and locked; 0 a collector was quicker; or error. */
static int try_make(const struct home *home, struct vm *dir, struct error *err)
{
	auto_free char *path = fresh_path(home);
	int fd;

	if (mkdir(path, 0700) < 0)
		return error_errno(err, "cannot create '%s'", path);
	fd = lock_dir(AT_FDCWD, path, LOCK_WAIT, err);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	dir->path = take(path);
	dir->dir = fd;
	return 1;
}

int disk_scratch_make(const struct home *home, const char *name, struct vm *dir, struct error *err)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < TRIES; i++)
		r = try_make(home, dir, err);
	if (r == 0)
		return error_set(err, E_FAILED, "cannot create a directory in '%s'", home->tmp);
	if (r < 0)
		return r;
	dir->name = xstrdup(name);
	return 0;
}

void disk_scratch_remove(struct vm *dir)
{
	struct error ignored = ERROR_INIT;

	if (dir->path)
		(void)!fs_remove_tree(AT_FDCWD, dir->path, &ignored);
	vm_release(dir);
}
