/* SPDX-License-Identifier: Apache-2.0 */
#include "store/recovery_partition.h"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/chain.h"
#include "store/gpt.h"
#include "store/vm.h"

/*
 * Theory of operation
 * -------------------
 *
 * Deleting changes the table alone, in place; gpt_write() leaves the old or the new one.
 *
 * Moving copies the data first and makes it durable, then changes the table. Where the new place
 * does not touch the old one nothing that the old table speaks of is written to meanwhile. Where it
 * does, all of it is done to a copy of the disk that then takes its place.
 *
 * What the partition occupied is given back to the host last, as holes; if that is not to be had,
 * it is no failure.
 */

static const char partition_name[] = "RecoveryOSContainer";

enum { COPY_STEP = 1024 * 1024 };

struct work {
	const struct vm *vm;
	struct disk_chain chain;
	struct gpt gpt;
	uint32_t index; /* of the partition */
	int fd; /* the disk */
};

static void release_work(struct work *work)
{
	gpt_release(&work->gpt);
	if (work->fd >= 0)
		(void)close(work->fd);
}
#define auto_work cleanup_(release_work) struct work

static off_t offset_of(struct gpt_range range)
{
	return (off_t)(range.first * GPT_SECTOR);
}

static off_t length_of(struct gpt_range range)
{
	return (off_t)((range.last - range.first + 1) * GPT_SECTOR);
}

static bool punch(int fd, struct gpt_range range)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset_of(range),
			 length_of(range)) == 0;
}

/* Copy a range to @to, of the same length; @in and @out may be one file if they do not overlap. */
static int copy_range(int in, struct gpt_range from, int out, struct gpt_range to,
		      struct error *err)
{
	auto_free uint8_t *bytes = xmalloc(COPY_STEP);
	bool sparse = punch(out, to); /* what was there must not shine through */
	off_t length = length_of(from);
	int r = 0;

	for (off_t done = 0; r == 0 && done < length; done += COPY_STEP) {
		size_t n = length - done < COPY_STEP ? (size_t)(length - done) : COPY_STEP;

		r = fs_pread_all(in, bytes, n, offset_of(from) + done, err);
		if (r == 0)
			r = (sparse ? fs_pwrite_sparse : fs_pwrite_all)(out, bytes, n,
									offset_of(to) + done, err);
	}
	if (r == 0 && fsync(out) < 0)
		r = error_errno(err, "fsync");
	return r < 0 ? error_wrap(err, "cannot move the partition %s", partition_name) : 0;
}

static int delete_partition(struct work *work, struct error *err)
{
	struct gpt_range range = gpt_range(&work->gpt, work->index);
	struct gpt_range behind = { range.last + 1, UINT64_MAX };

	if (gpt_is_taken(&work->gpt, behind, work->index))
		return error_set(err, E_FAILED, "the partition %s is not the last one of the disk",
				 partition_name);
	gpt_drop(&work->gpt, work->index);
	int r = gpt_write(work->fd, &work->gpt, err);

	if (r < 0)
		return r;
	(void)punch(work->fd, range);
	return 1;
}

/* Make the partition's new place on the disk behind @out, which also gets the new table. */
static int move_to(struct work *work, int out, struct gpt_range to, struct error *err)
{
	struct gpt_range from = gpt_range(&work->gpt, work->index);
	int r = copy_range(work->fd, from, out, to, err);

	if (r < 0)
		return r;
	gpt_set_range(&work->gpt, work->index, to);
	return gpt_write(out, &work->gpt, err);
}

/* To a copy of the disk that takes its place. */
static int move_in_copy(struct work *work, struct gpt_range to, struct error *err)
{
	struct error ignored = ERROR_INIT;
	auto_fd copy = disk_copy_next(work->vm, work->fd, err);
	int r = copy < 0 ? copy : move_to(work, copy, to, err);

	if (r == 0)
		r = disk_commit_raw(work->vm, copy, &work->chain, err);
	if (r < 0)
		(void)!disk_read(work->vm, &work->chain, &ignored); /* sweeps what was begun */
	return r < 0 ? r : 1;
}

static int relocate_partition(struct work *work, struct error *err)
{
	struct gpt_range from = gpt_range(&work->gpt, work->index);
	struct gpt_range to = { work->gpt.last_usable - (from.last - from.first),
				work->gpt.last_usable };

	if (to.first <= from.first)
		return 0;
	if (gpt_is_taken(&work->gpt, to, work->index))
		return error_set(err, E_FAILED,
				 "there is no room for the partition %s at the end of the disk",
				 partition_name);
	if (to.first <= from.last)
		return move_in_copy(work, to, err);
	int r = move_to(work, work->fd, to, err);

	if (r < 0)
		return r;
	(void)punch(work->fd, from);
	return 1;
}

static int open_disk(struct work *work, struct error *err)
{
	if (!chain_is_raw(&work->chain))
		return error_set(err, E_FAILED,
				 "the disk of VM \"%s\" is an overlay: --flatten makes it one file",
				 work->vm->name);
	work->fd = disk_open_file(work->vm, CHAIN_TOP, O_RDWR, err);
	return work->fd < 0 ? work->fd : 0;
}

static int change(struct work *work, enum recovery_partition what, struct error *err)
{
	int r = open_disk(work, err);

	if (r == 0)
		r = gpt_read(work->fd, work->chain.size, &work->gpt, err);
	if (r == 0 && what == RECOVERY_RELOCATE)
		return error_set(err, E_INVALID, "the disk has no partition table");
	if (r > 0)
		r = gpt_find(&work->gpt, partition_name, &work->index, err);
	if (r <= 0)
		return r;
	return what == RECOVERY_DELETE ? delete_partition(work, err)
				       : relocate_partition(work, err);
}

int vm_recovery_partition(const struct vm *vm, enum recovery_partition what, struct error *err)
{
	auto_work work = { .vm = vm, .gpt = GPT_INIT, .fd = -1 };
	auto_fd lock = -1;

	if (what == RECOVERY_KEEP)
		return 0;
	lock = disk_lock_stopped(vm, &work.chain, err);
	return lock < 0 ? lock : change(&work, what, err);
}
