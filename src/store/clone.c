/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation (decision 2). The copy is built in a stage while the source's
 * .lock is held, from whatever its disk is:
 *
 *   the file system shares extents     FICLONE of disk.img, links of the layers below it
 *   overlay with nothing written to it links of the layers below it, a new overlay
 *   little data, raw, stopped          sparse copy
 *   anything else                      freeze (by its `run`, if it has one), then as in the second
 * line
 *
 * Then the source is let go, and under the home's lock the MAC is settled and the stage published.
 * Nobody sees it before, and whatever fails leaves the source's content as it was.
 */

#include "store/clone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "base/vec.h"
#include "store/chain.h"
#include "store/home.h"
#include "store/manage.h"
#include "store/network_copy.h"
#include "store/stage.h"
#include "store/state.h"
#include "store/vm.h"

enum {
	FREEZE_MS = 120 * 1000, /* longer than `run` waits for QEMU altogether */
	ENDING_MS = 15 * 1000, /* longer than `run` takes to end */
	ENDING_PAUSE_MS = 5,
};

/* The VM that is cloned, locked. */
struct source {
	struct vm vm;
	int lock; /* its .lock */
	bool running; /* and it was so when we began with the disk */
};

static void release_source(struct source *source)
{
	cleanup_close_(&source->lock);
	vm_release(&source->vm);
}
#define auto_source cleanup_(release_source) struct source

/* A state knows its disk by that (store/state.h). */
static int keep_time(int from, int to, struct error *err)
{
	struct stat st;

	if (fstat(from, &st) < 0 ||
	    futimens(to, (struct timespec[2]){ st.st_atim, st.st_mtim }) < 0)
		return error_errno(err, "cannot copy the disk");
	return 0;
}

int clone_copy_file(const struct vm *from, const struct vm *to, const char *name, struct error *err)
{
	auto_fd source = disk_open_file(from, name, O_RDONLY, err);
	auto_fd copy = -1;
	int r;

	if (source < 0)
		return source;
	copy = fs_open(to->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, err);
	r = copy < 0 ? copy : fs_copy(source, copy, err);
	if (r == 0)
		r = keep_time(source, copy, err);
	return r < 0 ? error_wrap(err, "cannot copy '%s'", name) : 0;
}

int clone_link_file(const struct vm *from, const struct vm *to, const char *name, struct error *err)
{
	if (linkat(from->dir, name, to->dir, name, 0) == 0)
		return 0;
	if (errno != EMLINK && errno != EPERM && errno != EXDEV && errno != EOPNOTSUPP)
		return error_errno(err, "cannot link '%s'", name);
	return clone_copy_file(from, to, name, err);
}

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

/* "overlay-<n>.asif" of a stacked image */
static bool is_overlay(const char *name)
{
	const char *number = name + strlen("overlay-");

	return str_starts(name, "overlay-") && strspn(number, "0123456789") > 0 &&
	       strcmp(number + strspn(number, "0123456789"), ".asif") == 0;
}

int clone_link_overlays(const struct vm *from, const struct vm *to, struct error *err)
{
	int fd = openat(from->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_(close_dir) DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d)
		return error_errno(err, "cannot open '%s'", from->path);
	while (r == 0 && (e = readdir(d)))
		if (is_overlay(e->d_name))
			r = clone_link_file(from, to, e->d_name, err);
	return r;
}

/* The layers under the top, and disk.json. */
static int link_layers(const struct vm *from, const struct vm *to, const struct disk_chain *chain,
		       struct error *err)
{
	for (size_t i = 1; i < chain->count; i++) {
		int r = clone_link_file(from, to, chain->layers[i].file, err);

		if (r < 0)
			return r;
	}
	return disk_write(to, chain, err);
}

/* A new empty overlay over the source's frozen layers. */
static int clone_layers(const struct vm *from, const struct vm *to, const struct disk_chain *chain,
			struct error *err)
{
	auto_fd overlay = disk_make_overlay(to, CHAIN_TOP, chain->size, err);

	return overlay < 0 ? overlay : link_layers(from, to, chain, err);
}

int clone_share_top(int top, const struct vm *from, const struct vm *to,
		    const struct disk_chain *chain, struct error *err)
{
	auto_fd copy = fs_open(to->dir, CHAIN_TOP, O_WRONLY | O_CREAT | O_EXCL, err);
	int r = copy < 0 ? copy : fs_reflink(top, copy, err);

	if (r > 0)
		return keep_time(top, copy, err) < 0 || link_layers(from, to, chain, err) < 0
			       ? -err->code
			       : 1;
	if (r == 0)
		(void)unlinkat(to->dir, CHAIN_TOP, 0);
	return r;
}

/* Is the top a raw disk that nobody writes to and that had better be copied? */
static bool better_copied(int top, const struct source *source, const struct vm *to,
			  const struct disk_chain *chain, const struct vm_clone *how)
{
	struct stat disk, target;

	if (!chain_is_raw(chain) || source->running || fstat(top, &disk) < 0 ||
	    fstat(to->dir, &target) < 0)
		return false;
	return how->raw || fs_allocated(&disk) < CLONE_SMALL_DISK || disk.st_dev != target.st_dev;
}

int clone_copy_top(int top, const struct vm *to, struct error *err)
{
	auto_fd copy = fs_open(to->dir, CHAIN_TOP, O_WRONLY | O_CREAT | O_EXCL, err);
	int r = copy < 0 ? copy : fs_copy_sparse(top, copy, err);

	return r < 0 ? r : keep_time(top, copy, err);
}

/* Return: 0; E_NOT_RUNNING its `run` ended before it answered; or error. */
static int freeze_source(const struct source *source, struct disk_chain *chain, struct error *err)
{
	const struct vm *from = &source->vm;
	size_t count = chain->count;
	int r;

	if (!source->running)
		return disk_freeze(from, chain, NULL, NULL, err);
	r = manage_request(from, "freeze", source->lock, FREEZE_MS, err);
	if (r == 0)
		r = disk_read(from, chain, err);
	if (r == 0 && chain->count == count) /* it runs with a read-only disk: the names suffice */
		r = disk_freeze(from, chain, NULL, NULL, err);
	return r;
}

static int clone_top(int top, const struct source *source, const struct vm *to,
		     struct disk_chain *chain, const struct vm_clone *how, struct error *err)
{
	const struct vm *from = &source->vm;
	int r = chain->layers[0].qcow2 ? qcow2_is_empty(top, err) : 0;

	if (r > 0)
		return clone_layers(from, to, chain, err);
	if (r == 0 && better_copied(top, source, to, chain, how))
		return clone_copy_top(top, to, err);
	if (r == 0)
		r = clone_share_top(top, from, to, chain, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = freeze_source(source, chain, err);
	return r < 0 ? r : clone_layers(from, to, chain, err);
}

/* --raw: no layer and no extent in common with anybody. */
static int make_raw(const struct vm *vm, struct error *err)
{
	struct disk_chain chain = { 0 };
	int r = disk_read(vm, &chain, err);

	return r < 0 ? r : disk_flatten(vm, &chain, err);
}

static int clone_chain(struct source *source, const struct vm *to, const struct vm_clone *how,
		       struct error *err)
{
	const struct vm *from = &source->vm;
	struct disk_chain chain = { 0 };
	auto_fd top = -1;
	int r = 0;

	source->running = vm_is_run(from);
	if (!source->running)
		r = disk_wait_unused(from, err);
	if (r == 0)
		r = disk_read(from, &chain, err);
	if (r == 0 && !source->running && !state_exists(from))
		r = disk_merge_if_deep(from, &chain, err);
	if (r == 0)
		r = top = disk_open_file(from, CHAIN_TOP, O_RDONLY, err);
	return r < 0 ? r : clone_top(top, source, to, &chain, how, err);
}

/* Nobody can run it anew while we have the .lock. */
static int wait_for_end(const struct vm *vm, struct error *err)
{
	uint64_t deadline = clock_ms() + ENDING_MS;

	while (vm_is_run(vm)) {
		if (clock_ms() >= deadline)
			return error_set(err, E_RUNNING, "VM \"%s\" is ending, but does not end",
					 vm->name);
		clock_sleep_ms(ENDING_PAUSE_MS);
	}
	return 0;
}

static int clone_disk(struct source *source, const struct vm *to, const struct vm_clone *how,
		      struct error *err)
{
	int r = clone_chain(source, to, how, err);

	if (r == -E_NOT_RUNNING) {
		r = wait_for_end(&source->vm, err);
		if (r == 0)
			r = clone_chain(source, to, how, err);
	}
	if (r < 0)
		return r;
	if (how->raw)
		return make_raw(to, err);
	return source->running ? 0 : state_copy(&source->vm, to, err);
}

int clone_network(const struct vm *from, const struct vm *to, struct error *err)
{
	auto_network_copy copy = NETWORK_COPY_INIT;
	int r = network_copy_read(from, &copy, err);

	return r < 0 ? r : network_copy_write(to, &copy, err);
}

/*
 * The image's variable store is never altered, so a link will do, as for the origin, which is only
 * ever replaced, and the overlays of a stacked image; a VM's own firmware variables are copied.
 */
static int clone_small_files(const struct vm *from, const struct vm *to, struct error *err)
{
	int r = clone_link_file(from, to, "nvram.bin", err);

	if (r < 0)
		return r;
	r = clone_copy_file(from, to, "efivars.fd", err);
	if (r == 0 || r == -ENOENT)
		r = clone_link_file(from, to, "origin.json", err);
	return r == 0 || r == -ENOENT ? clone_link_overlays(from, to, err) : r;
}

static int build(const struct home *home, const char *source, const struct vm_clone *how,
		 const struct vm *to, struct config *config, struct error *err)
{
	auto_source from = { .vm = VM_INIT, .lock = -1 };
	int r = vm_open(home, source, /* quiet= */ false, &from.vm, err);

	if (r == 0)
		r = from.lock = vm_lock(&from.vm, err);
	if (r >= 0)
		r = vm_read_config(&from.vm, config, err);
	if (r == 0)
		r = clone_small_files(&from.vm, to, err);
	if (r == 0)
		r = clone_network(&from.vm, to, err);
	return r < 0 ? r : clone_disk(&from, to, how, err);
}

/* Contract 2.2: a new MAC iff any local VM has this one; mostly that is the source, so ask it
 * first. A suspended guest's card has the MAC that it has. */
static int settle_mac(const struct home *home, const char *source, const struct vm *to,
		      struct config *config, struct error *err)
{
	const char *name = to->name;
	auto_vm vm = VM_INIT;
	auto_config other = CONFIG_INIT;
	struct error ignored = ERROR_INIT;
	int r;

	if (state_exists(to))
		return 0;
	if (source && strcmp(source, name) != 0 &&
	    vm_open(home, source, /* quiet= */ true, &vm, &ignored) == 0 &&
	    vm_read_config(&vm, &other, &ignored) == 0 && mac_equal(other.mac, config->mac))
		r = 1;
	else
		r = vm_mac_in_use(home, config->mac, name, /* running_only= */ false, err);
	if (r > 0)
		config->mac = mac_random();
	return r < 0 ? r : 0;
}

static int write_config(const struct vm *vm, const struct config *config, struct error *err)
{
	auto_str text = STR_INIT;
	auto_fd fd = fs_open(vm->dir, "config.json", O_WRONLY | O_CREAT | O_EXCL, err);
	int r;

	if (fd < 0)
		return fd;
	config_format(config, &text);
	r = fs_write_all(fd, text.ptr, text.len, err);
	return r < 0 ? error_wrap(err, "config.json") : 0;
}

int clone_publish(const struct home *home, const char *source, const struct vm_clone *how,
		  struct stage *stage, struct config *config, struct error *err)
{
	auto_fd lock = home_lock(home, err);
	int r = lock;

	if (r >= 0)
		r = settle_mac(home, source, &stage->vm, config, err);
	if (r == 0)
		r = write_config(&stage->vm, config, err);
	return r < 0 ? r : stage_publish(home, stage, how->no_clobber, err);
}

int vm_clone(const struct home *home, const char *source, const char *name,
	     const struct vm_clone *how, struct error *err)
{
	auto_stage stage = STAGE_INIT;
	auto_config config = CONFIG_INIT;
	int r = home_check_name(name, err);

	if (r == 0)
		r = stage_open(home, name, &stage, err);
	if (r == 0)
		r = build(home, source, how, &stage.vm, &config, err);
	if (r == 0)
		r = clone_publish(home, source, how, &stage, &config, err);
	return r == -ENOSPC || r == -EDQUOT ? error_wrap(err, "cannot clone VM \"%s\"", source) : r;
}

int vm_mac_in_use(const struct home *home, struct mac mac, const char *except, bool running_only,
		  struct error *err)
{
	auto_strings names = VEC_INIT;
	int r = home_list_vms(home, &names, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < names.len; i++) {
		auto_vm vm = VM_INIT;
		auto_config config = CONFIG_INIT;
		struct error ignored = ERROR_INIT;

		/* one that is broken or went meanwhile has no address */
		if ((except && strcmp(names.items[i], except) == 0) ||
		    vm_open(home, names.items[i], /* quiet= */ true, &vm, &ignored) < 0 ||
		    (running_only && !vm_running_pid(&vm)) ||
		    vm_read_config(&vm, &config, &ignored) < 0)
			continue;
		if (mac_equal(config.mac, mac))
			return 1;
	}
	return 0;
}
