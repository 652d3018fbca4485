/* SPDX-License-Identifier: Apache-2.0 */
#include "store/vm.h"

#include <errno.h>
#include <fcntl.h>
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
#include "store/home.h"
#include "store/state.h"

static const char config_name[] = "config.json";
static const char config_next[] = "config.next.json";
static const char lock_name[] = ".lock";
static const char accessed_name[] = ".accessed";

int vm_not_found(const char *name, struct error *err)
{
	return error_set(err, E_NOT_FOUND, "the specified VM \"%s\" does not exist", name);
}

int vm_open_any(const struct home *home, const char *name, struct vm *vm, struct error *err)
{
	struct error ignored = ERROR_INIT;
	auto_free char *path = NULL;
	int dir;

	if (home_check_name(name, &ignored) < 0)
		return vm_not_found(name, err);
	path = str_format("%s/%s", home->vms, name);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return vm_not_found(name, err);
	if (dir < 0)
		return error_errno(err, "cannot open VM \"%s\"", name);
	*vm = (struct vm){ .name = xstrdup(name), .path = take(path), .dir = dir };
	return 0;
}

static int check_complete(const struct vm *vm, struct error *err)
{
	static const char *const files[] = { "config.json", "disk.img", "nvram.bin" };
	struct stat st;

	for (size_t i = 0; i < array_size(files); i++)
		if (fstatat(vm->dir, files[i], &st, 0) < 0)
			return error_set(err, E_FAILED,
					 "VM is missing some of its files (config.json, disk.img "
					 "or nvram.bin)");
	return 0;
}

void vm_touch(const struct vm *vm)
{
	static const struct timespec now[2] = { { .tv_nsec = UTIME_NOW },
						{ .tv_nsec = UTIME_NOW } };
	static const struct timespec atime[2] = { { .tv_nsec = UTIME_NOW },
						  { .tv_nsec = UTIME_OMIT } };
	auto_fd fd =
		openat(vm->dir, accessed_name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd >= 0)
		(void)futimens(fd, now);
	(void)futimens(vm->dir, atime);
}

int vm_open(const struct home *home, const char *name, bool quiet, struct vm *vm, struct error *err)
{
	auto_vm opened = VM_INIT;
	int r = vm_open_any(home, name, &opened, err);

	if (r == 0)
		r = check_complete(&opened, err);
	if (r < 0)
		return r;
	if (!quiet)
		vm_touch(&opened);
	*vm = opened;
	opened = (struct vm)VM_INIT;
	return 0;
}

void vm_release(struct vm *vm)
{
	free(vm->name);
	free(vm->path);
	if (vm->dir >= 0)
		(void)close(vm->dir);
	*vm = (struct vm)VM_INIT;
}

time_t vm_accessed(const struct vm *vm)
{
	struct stat st;

	if (fstatat(vm->dir, accessed_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return st.st_mtime;
	return fstat(vm->dir, &st) == 0 ? st.st_atime : 0;
}

int vm_lock(const struct vm *vm, struct error *err)
{
	auto_fd fd = lock_file(vm->dir, lock_name, true, LOCK_WAIT, err);

	/* deleted, renamed or replaced before we came or while we waited */
	if (fd == -ENOENT || (fd >= 0 && !lock_still_names(vm->dir, AT_FDCWD, vm->path)))
		return vm_not_found(vm->name, err);
	if (fd < 0)
		return error_wrap(err, "VM \"%s\"", vm->name);
	return take_fd(&fd);
}

bool vm_is_lock(const struct vm *vm, int fd)
{
	/* succeeds at once where this open file has the lock already */
	return fd >= 0 && lock_still_names(fd, vm->dir, lock_name) &&
	       flock(fd, LOCK_EX | LOCK_NB) == 0;
}

pid_t vm_running_pid(const struct vm *vm)
{
	auto_fd fd = openat(vm->dir, config_name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? 0 : lock_record_owner(fd);
}

bool vm_is_run(const struct vm *vm)
{
	auto_fd fd = openat(vm->dir, config_name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && lock_record_writer(fd);
}

enum vm_state vm_state(const struct vm *vm)
{
	struct stat st;

	if (vm_running_pid(vm))
		return VM_RUNNING;
	if (state_exists(vm) || fstatat(vm->dir, "state.vzvmsave", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return VM_SUSPENDED;
	return VM_STOPPED;
}

const char *vm_state_name(enum vm_state state)
{
	switch (state) {
	case VM_STOPPED:
		return "stopped";
	case VM_RUNNING:
		return "running";
	case VM_SUSPENDED:
		return "suspended";
	}
	abort();
}

int vm_adopt_config(const struct vm *vm, struct error *err)
{
	if (renameat(vm->dir, config_next, vm->dir, config_name) == 0)
		return fs_sync_dir(vm->dir, ".", err);
	if (errno == ENOENT)
		return 0;
	return error_errno(err, "cannot replace '%s'", config_name);
}

typedef int (*lock_fn)(int fd, struct error *err);

static int lock_config(const struct vm *vm, lock_fn lock, int *fd, struct error *err)
{
	auto_fd config = fs_open(vm->dir, config_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, err);
	int r;

	if (config < 0)
		return config;
	r = lock(config, err);
	if (r > 0 && !lock_still_names(config, vm->dir, config_name))
		return error_set(err, E_FAILED, "'%s' was replaced meanwhile", config_name);
	if (r > 0)
		*fd = take_fd(&config);
	return r;
}

static int take_lock(const struct vm *vm, lock_fn lock, int *fd, struct error *err)
{
	int r;

	if (vm_running_pid(vm))
		return 0;
	r = vm_adopt_config(vm, err);
	if (r == 0)
		r = lock_config(vm, lock, fd, err);
	return r < 0 ? error_wrap(err, "VM \"%s\"", vm->name) : r;
}

int vm_take_running_lock(const struct vm *vm, int *fd, struct error *err)
{
	return take_lock(vm, lock_record_try, fd, err);
}

int vm_take_reading_lock(const struct vm *vm, int *fd, struct error *err)
{
	return take_lock(vm, lock_record_share, fd, err);
}

int vm_read_config(const struct vm *vm, struct config *config, struct error *err)
{
	auto_str text = STR_INIT;
	int r = fs_read_file(vm->dir, config_next, CONFIG_FILE_MAX, &text, err);

	if (r == -ENOENT)
		r = fs_read_file(vm->dir, config_name, CONFIG_FILE_MAX, &text, err);
	if (r < 0)
		return error_wrap(err, "VM \"%s\"", vm->name);
	r = config_parse(text.ptr, text.len, config, err);
	return r < 0 ? error_wrap(err, "%s of VM \"%s\"", config_name, vm->name) : 0;
}

int vm_write_config(const struct vm *vm, const struct config *config, struct error *err)
{
	auto_str text = STR_INIT;
	int r;

	config_format(config, &text);
	r = fs_replace_file(vm->dir, config_next, text.ptr, text.len, 0600, err);
	/* nobody can begin to run it: that needs the .lock, which we hold */
	if (r == 0 && !vm_running_pid(vm))
		r = vm_adopt_config(vm, err);
	return r < 0 ? error_wrap(err, "VM \"%s\"", vm->name) : 0;
}
