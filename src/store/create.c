/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "store/chain.h"
#include "store/home.h"
#include "store/stage.h"
#include "store/vm.h"

static void set_resources(struct config *config, const struct vm_create *how)
{
	if (how->cpus)
		config->cpu_count = config->cpu_count_min = how->cpus;
	if (how->memory)
		config->memory = config->memory_min = how->memory;
}

static int write_config(const struct vm *vm, const struct vm_create *how, struct error *err)
{
	auto_config config = CONFIG_INIT;
	auto_str text = STR_INIT;
	auto_fd fd = -1;
	int r;

	config_init_linux(&config, how->arch);
	set_resources(&config, how);
	config_format(&config, &text);
	fd = fs_open(vm->dir, "config.json", O_WRONLY | O_CREAT | O_EXCL, err);
	r = fd < 0 ? fd : fs_write_all(fd, text.ptr, text.len, err);
	return r < 0 ? error_wrap(err, "config.json") : 0;
}

static int copy_template(const struct vm *vm, int template, const char *name, struct error *err)
{
	auto_fd fd = fs_open(vm->dir, name, O_WRONLY | O_CREAT | O_EXCL, err);
	int r;

	if (fd < 0 || template <0)
		return fd < 0 ? fd : 0;
	r = fs_copy_sparse(template, fd, err);
	return r < 0 ? error_wrap(err, "%s", name) : 0;
}

static int copy_disk(const char *path, int to, struct error *err)
{
	auto_fd from = fs_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, err);

	return from < 0 ? from : fs_copy_sparse(from, to, err);
}

/* Move the file @path in; across file systems copy it. */
static int move_disk(const struct vm *vm, const char *path, struct error *err)
{
	auto_fd to = -1;
	int r;

	if (renameat(AT_FDCWD, path, vm->dir, CHAIN_TOP) == 0)
		return 0;
	if (errno != EXDEV)
		return error_errno(err, "cannot move '%s'", path);
	to = fs_open(vm->dir, CHAIN_TOP, O_WRONLY | O_CREAT | O_EXCL, err);
	r = to < 0 ? to : copy_disk(path, to, err);
	if (r == 0)
		(void)unlink(path);
	return r;
}

static int make_disk(const struct vm *vm, const struct vm_create *how, struct error *err)
{
	auto_fd fd = -1;
	struct stat st;
	int r = how->disk_file ? move_disk(vm, how->disk_file, err) : 0;

	if (r == 0)
		r = fd = disk_open_file(vm, CHAIN_TOP, O_WRONLY | O_CREAT, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || fchmod(fd, 0600) < 0)
		return error_errno(err, "disk.img");
	if ((uint64_t)st.st_size < how->disk_size && ftruncate(fd, (off_t)how->disk_size) < 0)
		return error_errno(err, "cannot resize disk.img");
	return 0;
}

static int fill(const struct vm *vm, const struct vm_create *how, struct error *err)
{
	int r = write_config(vm, how, err);

	if (r == 0)
		r = copy_template(vm, how->nvram_template, "nvram.bin", err);
	if (r == 0)
		r = copy_template(vm, how->nvram_template, "efivars.fd", err);
	return r < 0 ? r : make_disk(vm, how, err);
}

static int create(const struct home *home, struct stage *stage, const struct vm_create *how,
		  struct error *err)
{
	auto_fd lock = -1;
	int r = fill(&stage->vm, how, err);

	if (r < 0)
		return r;
	lock = home_lock(home, err);
	return lock < 0 ? lock : stage_publish(home, stage, how->no_clobber, err);
}

int vm_create(const struct home *home, const char *name, const struct vm_create *how,
	      struct error *err)
{
	auto_stage stage = STAGE_INIT;
	int r = home_check_name(name, err);

	if (r == 0 && how->disk_size > QCOW2_SIZE_MAX)
		r = error_set(err, E_TOO_BIG, "a disk cannot have %llu bytes",
			      (unsigned long long)how->disk_size);
	if (r == 0)
		r = stage_open(home, name, &stage, err);
	if (r < 0)
		return r;
	r = create(home, &stage, how, err);
	/* E_RUNNING's text is the contract's; the rest wants to be told what failed */
	return r == -ENOSPC || r == -EDQUOT ? error_wrap(err, "cannot create VM \"%s\"", name) : r;
}
