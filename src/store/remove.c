/* SPDX-License-Identifier: Apache-2.0 */

/* VMs that go, or get another name. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "store/home.h"
#include "store/stage.h"
#include "store/vm.h"

/* With the .lock and the running lock: neither a clone nor a start can be in the middle of
 * something. */
static int delete_opened(const struct home *home, const struct vm *vm, struct error *err)
{
	auto_fd lock = vm_lock(vm, err);
	auto_fd running = -1;
	int r = lock;

	if (r >= 0)
		r = vm_take_running_lock(vm, &running, err);
	if (r == 0)
		return error_set(err, E_RUNNING, "VM \"%s\" is running", vm->name);
	if (r < 0 && r != -ENOENT) /* without config.json nobody can run it */
		return r;
	return stage_discard(home, vm->path, err);
}

int vm_delete(const struct home *home, const char *name, struct error *err)
{
	auto_vm vm = VM_INIT;
	int r = vm_open_any(home, name, &vm, err);

	return r < 0 ? r : delete_opened(home, &vm, err);
}

static int target_exists(const char *from, const char *to, struct error *err)
{
	return error_set(err, E_USAGE,
			 "failed to rename VM %s, target VM %s already exists, delete it first!",
			 from, to);
}

static int rename_opened(const struct home *home, const struct vm *vm, const char *to,
			 struct error *err)
{
	auto_free char *path = str_format("%s/%s", home->vms, to);
	auto_fd lock = vm_lock(vm, err);

	if (lock < 0)
		return lock;
	if (renameat2(AT_FDCWD, vm->path, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
		return errno == EEXIST ? target_exists(vm->name, to, err)
				       : error_errno(err, "cannot rename VM \"%s\"", vm->name);
	return fs_sync_dir(AT_FDCWD, home->vms, err);
}

int vm_rename(const struct home *home, const char *from, const char *to, struct error *err)
{
	auto_vm vm = VM_INIT;
	int r;

	if (strchr(to, '/'))
		return error_set(err, E_USAGE, "<new-name> should be a local name");
	r = home_check_name(to, err);
	if (r < 0)
		return r;
	r = vm_open(home, from, /* quiet= */ true, &vm, err);
	if (r == 0)
		r = rename_opened(home, &vm, to, err);
	if (r == -E_NOT_FOUND)
		return error_set(err, E_USAGE, "failed to rename a non-existent local VM: %s",
				 from);
	return r;
}
