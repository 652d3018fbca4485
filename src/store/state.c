/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * No state may be resumed twice: the second time the guest's memory would not fit to the disk that
 * the first one wrote to. So what is resumed from is renamed away, durably, before the guest's
 * first instruction; and what is there fits to the disk only as long as nobody writes to it.
 */

#include "store/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fnv.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/disk.h"
#include "store/qcow2.h"
#include "store/vm.h"

#define STATE_USED "state.used"
static const char description[] = "state.json";

enum { SUM_BLOCK = 64 * 1024, MODE_DIR = 0700 };

/* --- the disk --- */

/* Return: 1 it has data, 0 it is an overlay without, or error. */
static int read_layer(const struct vm *vm, const struct disk_layer *layer, struct state_disk *disk,
		      struct error *err)
{
	auto_fd fd = disk_open_file(vm, layer->file, O_RDONLY, err);
	struct stat st;
	int r = 0;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read '%s'", layer->file);
	disk->length = (uint64_t)st.st_size;
	disk->modified = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	if (layer->qcow2)
		r = qcow2_is_empty(fd, err);
	return r < 0 ? r : !r;
}

int state_find_disk(const struct vm *vm, const struct disk_chain *chain, struct state_disk *disk,
		    struct error *err)
{
	*disk = (struct state_disk){ .size = chain->size };
	for (size_t i = 0; i < chain->count; i++) {
		int r = read_layer(vm, &chain->layers[i], disk, err);

		if (r != 0)
			return r < 0 ? r : 0;
	}
	return 0;
}

bool state_same_disk(const struct state_disk *a, const struct state_disk *b)
{
	return a->size == b->size && a->length == b->length && a->modified == b->modified;
}

/* --- writing one --- */

void state_files_release(struct state_files *files)
{
	cleanup_close_(&files->device);
	cleanup_close_(&files->memory);
	*files = (struct state_files)STATE_FILES_INIT;
}

/* What was opened before one fails is the caller's, too. */
static int open_files(const struct vm *vm, const char *name, int flags, struct state_files *files,
		      struct error *err)
{
	auto_fd dir = fs_open(vm->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, err);

	if (dir < 0)
		return dir;
	flags |= O_NOFOLLOW | O_NONBLOCK;
	files->device = fs_open(dir, "device", flags, err);
	if (files->device < 0)
		return files->device;
	files->memory = fs_open(dir, "memory", flags, err);
	return files->memory < 0 ? files->memory : 0;
}

int state_begin(const struct vm *vm, struct state_files *files, struct error *err)
{
	int r = fs_remove_tree(vm->dir, STATE_NEW_DIR, err);

	if (r < 0)
		return r;
	if (mkdirat(vm->dir, STATE_NEW_DIR, MODE_DIR) < 0)
		return error_errno(err, "cannot make '%s'", STATE_NEW_DIR);
	r = open_files(vm, STATE_NEW_DIR, O_RDWR | O_CREAT | O_EXCL, files, err);
	if (r < 0)
		state_abandon(vm);
	return r;
}

/* It finds damage and what belongs to another state, nothing cleverer. */
static int sum_file(int fd, uint64_t size, uint64_t *sum, struct error *err)
{
	auto_free uint8_t *block = xmalloc(SUM_BLOCK);
	uint64_t hash = FNV_START;

	for (uint64_t at = 0; at < size; at += SUM_BLOCK) {
		size_t len = size - at < SUM_BLOCK ? (size_t)(size - at) : SUM_BLOCK;
		int r = fs_pread_all(fd, block, len, (off_t)at, err);

		if (r < 0)
			return r;
		hash = fnv_add(hash, block, len);
	}
	*sum = hash;
	return 0;
}

static int describe(const struct vm *vm, const struct state_files *files, struct state *state,
		    struct error *err)
{
	auto_str text = STR_INIT;
	auto_state again = STATE_INIT;
	auto_fd dir = fs_open(vm->dir, STATE_NEW_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, err);
	struct stat st;
	int r;

	if (dir < 0)
		return dir;
	if (fstat(files->device, &st) < 0)
		return error_errno(err, "cannot read the state");
	state->device_size = (uint64_t)st.st_size;
	r = sum_file(files->device, state->device_size, &state->device_sum, err);
	if (r < 0)
		return r;
	state_format(state, &text);
	/* now the guest can go on; later it would be lost */
	r = text.len > STATE_FILE_MAX
		    ? error_set(err, E_TOO_BIG, "%s would be too long", description)
		    : state_parse(text.ptr, text.len, &again, err);
	if (r < 0)
		return r;
	return fs_replace_file(dir, description, text.ptr, text.len, 0600, err);
}

static int appear(const struct vm *vm, const struct state_files *files, struct error *err)
{
	int r;

	if (fsync(files->device) < 0 || fsync(files->memory) < 0)
		return error_errno(err, "cannot write the state");
	r = fs_sync_dir(vm->dir, STATE_NEW_DIR, err);
	if (r < 0)
		return r;
	if (renameat(vm->dir, STATE_NEW_DIR, vm->dir, STATE_DIR) < 0)
		return error_errno(err, "cannot rename '%s'", STATE_NEW_DIR);
	return fs_sync_dir(vm->dir, ".", err);
}

int state_publish(const struct vm *vm, const struct state_files *files, struct state *state,
		  struct error *err)
{
	struct error ignored = ERROR_INIT;
	int r = describe(vm, files, state, err);

	if (r == 0)
		r = appear(vm, files, err);
	if (r < 0) {
		/* its name may be there and only not be durable */
		(void)!fs_remove_tree(vm->dir, STATE_DIR, &ignored);
		state_abandon(vm);
	}
	return r;
}

static void remove_quietly(const struct vm *vm, const char *name)
{
	struct error err = ERROR_INIT;

	if (fs_remove_tree(vm->dir, name, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.text);
}

void state_abandon(const struct vm *vm)
{
	remove_quietly(vm, STATE_NEW_DIR);
}

/* --- taking it back --- */

bool state_exists(const struct vm *vm)
{
	struct stat st;

	return fstatat(vm->dir, STATE_DIR, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int check_file(int fd, const char *name, uint64_t size, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read '%s'", name);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return error_set(err, E_INVALID, "its file '%s' is not whole", name);
	return 0;
}

static int check_files(const struct state *state, const struct state_files *files,
		       struct error *err)
{
	uint64_t sum = 0;
	int r = check_file(files->device, "device", state->device_size, err);

	if (r == 0)
		r = check_file(files->memory, "memory", state->memory, err);
	if (r == 0)
		r = sum_file(files->device, state->device_size, &sum, err);
	if (r < 0)
		return r;
	if (sum != state->device_sum)
		return error_set(err, E_INVALID, "its file 'device' is damaged");
	return 0;
}

static int read_description(const struct vm *vm, struct state *state, struct error *err)
{
	auto_str text = STR_INIT;
	auto_fd dir = fs_open(vm->dir, STATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, err);
	int r;

	if (dir < 0)
		return dir;
	r = fs_read_file(dir, description, STATE_FILE_MAX, &text, err);
	if (r == 0)
		r = state_parse(text.ptr, text.len, state, err);
	return r < 0 ? error_wrap(err, "%s", description) : 0;
}

int state_open(const struct vm *vm, struct state *state, struct state_files *files,
	       struct error *err)
{
	auto_state read = STATE_INIT;
	auto_state_files opened = STATE_FILES_INIT;
	int r;

	if (!state_exists(vm))
		return 0;
	r = read_description(vm, &read, err);
	if (r == 0)
		r = open_files(vm, STATE_DIR, O_RDONLY, &opened, err);
	if (r == 0)
		r = check_files(&read, &opened, err);
	if (r < 0)
		return r;
	*state = read;
	*files = opened;
	read = (struct state)STATE_INIT;
	opened = (struct state_files)STATE_FILES_INIT;
	return 1;
}

static int move(const struct vm *vm, const char *from, const char *to, struct error *err)
{
	int r = fs_remove_tree(vm->dir, to, err);

	if (r < 0)
		return r;
	if (renameat(vm->dir, from, vm->dir, to) < 0)
		return error_errno(err, "cannot rename '%s'", from);
	return fs_sync_dir(vm->dir, ".", err);
}

int state_consume(const struct vm *vm, struct error *err)
{
	int r = move(vm, STATE_DIR, STATE_USED, err);

	/* moved, and perhaps not for good: nothing was executed, so it may be resumed from again */
	if (r < 0 && !state_exists(vm))
		(void)renameat(vm->dir, STATE_USED, vm->dir, STATE_DIR);
	return r;
}

int state_put_back(const struct vm *vm, struct error *err)
{
	return move(vm, STATE_USED, STATE_DIR, err);
}

void state_tidy(const struct vm *vm)
{
	remove_quietly(vm, STATE_USED);
	remove_quietly(vm, STATE_NEW_DIR);
}

int state_drop(const struct vm *vm, struct error *err)
{
	int r = 0;

	if (state_exists(vm))
		r = state_consume(vm, err);
	if (r == 0)
		state_tidy(vm);
	return r;
}

/* --- a clone's --- */

static int copy_file(int from, int to, const char *name, struct error *err)
{
	auto_fd source = fs_open(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, err);
	auto_fd copy = -1;
	int r;

	if (source < 0)
		return source;
	copy = fs_open(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, err);
	r = copy < 0 ? copy : fs_copy(source, copy, err);
	if (r == 0 && fsync(copy) < 0)
		r = error_errno(err, "cannot write");
	return r < 0 ? error_wrap(err, "cannot copy '%s'", name) : 0;
}

int state_copy(const struct vm *from, const struct vm *to, struct error *err)
{
	static const char *const names[] = { "device", "memory", "state.json" };
	auto_fd source = -1;
	auto_fd copy = -1;
	int r = 0;

	if (!state_exists(from))
		return 0;
	source = fs_open(from->dir, STATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, err);
	if (source < 0)
		return source;
	if (mkdirat(to->dir, STATE_DIR, MODE_DIR) < 0)
		return error_errno(err, "cannot make '%s'", STATE_DIR);
	copy = fs_open(to->dir, STATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, err);
	if (copy < 0)
		return copy;
	for (size_t i = 0; r == 0 && i < array_size(names); i++)
		r = copy_file(source, copy, names[i], err);
	return r < 0 ? r : fs_sync_dir(to->dir, STATE_DIR, err);
}
