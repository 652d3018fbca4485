/* SPDX-License-Identifier: Apache-2.0 */
#include "store/stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/home.h"

/* A fresh path for something to be renamed to or from vms/; owned by the caller. */
static char *fresh_path(const struct home *home)
{
	struct stat tmp, vms;
	char random[33];
	bool apart = stat(home->tmp, &tmp) == 0 && stat(home->vms, &vms) == 0 &&
		     tmp.st_dev != vms.st_dev;

	fs_random_hex(random, 16);
	return str_format("%s/" STAGE_PREFIX "%s", apart ? home->vms : home->tmp, random);
}

/* The .lock is there from the start, so that a VM can be deleted where the disk is full. */
static int make_lock(const struct vm *vm, struct error *err)
{
	auto_fd fd = fs_open(vm->dir, ".lock", O_WRONLY | O_CREAT | O_EXCL, err);

	return fd < 0 ? fd : 0;
}

int stage_open(const struct home *home, const char *name, struct stage *stage, struct error *err)
{
	int r = fs_mkdirs(home->vms, err);

	if (r < 0)
		return r;
	r = home_new_dir(home, fresh_path, &stage->vm.path, err);
	if (r < 0)
		return r;
	stage->vm.dir = r;
	stage->vm.name = xstrdup(name);
	stage->published = false;
	return make_lock(&stage->vm, err);
}

void stage_release(struct stage *stage)
{
	struct error ignored = ERROR_INIT;

	if (stage->vm.path && !stage->published)
		(void)!fs_remove_tree(AT_FDCWD, stage->vm.path, &ignored);
	vm_release(&stage->vm);
}

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static int sync_file(int dir, const char *name, struct error *err)
{
	auto_fd fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return error_errno(err, "cannot write '%s'", name);
	return 0;
}

/* All files at the end, in a row: one journal commit serves most of them. */
static int sync_all(const struct stage *stage, struct error *err)
{
	int fd = openat(stage->vm.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_(close_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!d)
		return error_errno(err, "cannot open '%s'", stage->vm.path);
	while ((e = readdir(d))) {
		int r;

		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
		    st.st_nlink > 1) /* a frozen layer was synced when it was frozen */
			continue;
		r = sync_file(fd, e->d_name, err);
		if (r < 0)
			return r;
	}
	if (fsync(fd) < 0)
		return error_errno(err, "cannot write '%s'", stage->vm.path);
	return 0;
}

/* Put the stage in the place of the VM that is at @path. */
static int replace(const struct home *home, const struct stage *stage, const char *path,
		   struct error *err)
{
	auto_vm old = VM_INIT;
	auto_fd lock = -1;
	auto_fd running = -1;
	int r = vm_open_any(home, stage->vm.name, &old, err);

	if (r == 0) {
		lock = vm_lock(&old, err);
		r = lock;
	}
	if (r >= 0)
		r = vm_take_running_lock(&old, &running, err);
	if (r == -ENOENT) /* not a whole VM: nobody can run it */
		r = 1;
	if (r < 0)
		return r;
	if (r == 0)
		return error_set(err, E_RUNNING, "VM \"%s\" is running", stage->vm.name);
	if (renameat2(AT_FDCWD, stage->vm.path, AT_FDCWD, path, RENAME_EXCHANGE) < 0)
		return error_errno(err, "cannot replace '%s'", path);
	return 0;
}

static int appear(const struct home *home, const struct stage *stage, const char *path,
		  bool no_clobber, struct error *err)
{
	for (;;) {
		struct error ignored = ERROR_INIT;
		int r;

		if (renameat2(AT_FDCWD, stage->vm.path, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			return error_errno(err, "cannot create '%s'", path);
		if (no_clobber)
			return error_set(err, E_FAILED, "VM \"%s\" already exists", stage->vm.name);
		r = replace(home, stage, path, err);
		if (r == -E_NOT_FOUND) /* deleted or renamed meanwhile */
			continue;
		if (r ==
		    0) /* what was exchanged is rubbish now; a failure is left to the collector */
			(void)!fs_remove_tree(AT_FDCWD, stage->vm.path, &ignored);
		return r;
	}
}

int stage_publish(const struct home *home, struct stage *stage, bool no_clobber, struct error *err)
{
	auto_free char *path = str_format("%s/%s", home->vms, stage->vm.name);
	int r = sync_all(stage, err);

	if (r == 0)
		r = appear(home, stage, path, no_clobber, err);
	if (r < 0)
		return r;
	stage->published = true;
	free(stage->vm.path);
	stage->vm.path = take(path);
	return fs_sync_dir(AT_FDCWD, home->vms, err);
}

int stage_discard(const struct home *home, const char *path, struct error *err)
{
	auto_free char *trash = fresh_path(home);

	if (renameat2(AT_FDCWD, path, AT_FDCWD, trash, RENAME_NOREPLACE) < 0)
		return error_errno(err, "cannot remove '%s'", path);
	return fs_remove_tree(AT_FDCWD, trash, err);
}
