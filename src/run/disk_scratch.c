/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_scratch.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/home.h"

static char *fresh_path(const struct home *home)
{
	char uuid[FS_UUID_SIZE];

	fs_random_uuid(uuid);
	return str_format("%s/run-disk-%s", home->tmp, uuid);
}

int disk_scratch_make(const struct home *home, const char *name, struct vm *dir, struct error *err)
{
	int r = home_new_dir(home, fresh_path, &dir->path, err);

	if (r < 0)
		return r;
	dir->dir = r;
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
