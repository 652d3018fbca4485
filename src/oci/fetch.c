/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "oci/apple_lz4.h"
#include "oci/hash.h"
#include "oci/parallel.h"
#include "oci/remote.h"
#include "oci/sparse.h"
#include "oci/zero_digest.h"

/*
 * Theory of operation
 * -------------------
 *
 * The slices are sorted by content; those of one content are a group, and a group is a job. Jobs
 * begin in the order of their first slices, so that the file grows from its beginning.
 *
 * In a file that is not fresh, a place may hold anything: what a killed pull had begun to write
 * there. It is hashed, where it is no hole, and either right or made a hole again, since pages of
 * zeroes are not written.
 *
 * The kernel is told to begin to write out each finished slice, so that the fsync at the
 * end has little left to wait for.
 */

enum { COPY_PIECE = 256 * 1024 };

struct group {
	const size_t *members; /* indices of slices, ascending; borrowed */
	size_t count;
};

struct work {
	const struct fetch *fetch;
	struct group *groups;
	struct zero_digests zero;
};

/* What decoding and writing one slice needs at hand. */
struct incoming {
	const struct work *work;
	const struct disk_slice *slice;
	const volatile bool *stop;
	struct apple_lz4_decoder *decoder;
	struct sparse_writer writer;
	uint64_t received; /* compressed bytes */
};

int fetch_compare_reuse(const void *a, const void *b)
{
	const struct fetch_reuse *x = a, *y = b;
	int order = digest_compare(&x->content, &y->content);

	return order ? order : x->length < y->length ? -1 : x->length > y->length;
}

static void report(const struct work *work, uint64_t bytes)
{
	if (work->fetch->progress && bytes)
		work->fetch->progress(work->fetch->arg, bytes);
}

static int cancelled(struct error *err)
{
	return error_set(err, E_CANCELLED, "another slice failed");
}

/* Does the place of @slice hold nothing? */
static bool is_hole(const struct work *work, const struct disk_slice *slice)
{
	off_t data = lseek(work->fetch->fd, (off_t)slice->offset, SEEK_DATA);

	return data < 0 ? errno == ENXIO : (uint64_t)data >= slice->offset + slice->length;
}

/* Where the file system makes no holes; what reads as zeroes may be one, of those that it has. */
static int write_zeroes(int fd, uint64_t offset, uint64_t length, struct error *err)
{
	static const uint8_t zeroes[COPY_PIECE];
	auto_free uint8_t *piece = xmalloc(COPY_PIECE);
	int r = 0;

	while (length && r == 0) {
		size_t part = length < COPY_PIECE ? (size_t)length : COPY_PIECE;

		r = fs_pread_all(fd, piece, part, (off_t)offset, err);
		if (r == 0 && !fs_all_zero(piece, part))
			r = fs_pwrite_all(fd, zeroes, part, (off_t)offset, err);
		offset += part;
		length -= part;
	}
	return r < 0 ? r : 0;
}

static int punch(const struct work *work, const struct disk_slice *slice, struct error *err)
{
	int fd = work->fetch->fd;

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)slice->offset,
		      (off_t)slice->length) == 0)
		return 0;
	if (errno == EOPNOTSUPP)
		return write_zeroes(fd, slice->offset, slice->length, err);
	return error_errno(err, "cannot make a hole in the disk");
}

static int make_hole(const struct work *work, const struct disk_slice *slice, struct error *err)
{
	return work->fetch->fresh || is_hole(work, slice) ? 0 : punch(work, slice, err);
}

/*
 * Give the bytes of @fd at [offset, offset + length) to @take, a piece at a time.
 * A file that ends before is E_INVALID.
 */
static int read_pieces(int fd, uint64_t offset, uint64_t length, const volatile bool *stop,
		       apple_lz4_write_fn give, void *arg, struct error *err)
{
	auto_free uint8_t *piece = xmalloc(COPY_PIECE);
	int r = 0;

	while (length && r == 0) {
		size_t part = length < COPY_PIECE ? (size_t)length : COPY_PIECE;

		if (*stop)
			return cancelled(err);
		r = fs_pread_all(fd, piece, part, (off_t)offset, err);
		if (r == 0)
			r = give(arg, piece, part, err);
		offset += part;
		length -= part;
	}
	return r;
}

static int add_to_hash(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	(void)err;
	hash_add(arg, bytes, len);
	return 0;
}

/* Return: 1 the place of @slice holds its content, 0 it does not, or error. */
static int is_right(const struct work *work, const struct disk_slice *slice,
		    const volatile bool *stop, struct error *err)
{
	auto_hash hash = HASH_INIT;
	struct digest digest;
	int r;

	hash_begin(&hash);
	r = read_pieces(work->fetch->fd, slice->offset, slice->length, stop, add_to_hash, &hash,
			err);
	if (r < 0)
		return r;
	hash_end(&hash, &digest);
	return digest_equal(&digest, &slice->content);
}

static bool share_extents(int from, uint64_t offset, int to, const struct disk_slice *slice)
{
	struct file_clone_range range = { .src_fd = from,
					  .src_offset = offset,
					  .src_length = slice->length,
					  .dest_offset = slice->offset };

	return ioctl(to, FICLONERANGE, &range) == 0;
}

/* Copy; what is written is what is hashed. Return: 1 it is the content of @slice, 0, or error. */
static int copy_bytes(const struct work *work, int from, uint64_t offset,
		      const struct disk_slice *slice, const volatile bool *stop, struct error *err)
{
	auto_sparse_writer writer = SPARSE_WRITER_INIT;
	struct digest digest;
	int r;

	r = sparse_begin(&writer, work->fetch->fd, slice->offset, slice->length, err);
	if (r == 0)
		r = read_pieces(from, offset, slice->length, stop, sparse_write, &writer, err);
	if (r == 0)
		r = sparse_end(&writer, &digest, err);
	return r < 0 ? r : digest_equal(&digest, &slice->content);
}

/*
 * From @offset of @from to the place of @slice, which is a hole. Return: 1 done; 0 that is not its
 * content, and the place is a hole again; or error.
 */
static int take_over(const struct work *work, int from, uint64_t offset,
		     const struct disk_slice *slice, const volatile bool *stop, struct error *err)
{
	int r;

	if (share_extents(from, offset, work->fetch->fd, slice))
		r = is_right(work, slice, stop, err);
	else
		r = copy_bytes(work, from, offset, slice, stop, err);
	return r != 0 ? r : punch(work, slice, err);
}

static int tell_not_decoded(const struct work *work, struct error *err)
{
	return work->fetch->blob_not_decoded
		       ? work->fetch->blob_not_decoded(work->fetch->blob_arg, err)
		       : 0;
}

/* The first of the equal entries. Return: NULL where there is none. */
static const struct fetch_reuse *find_reuse(const struct fetch *fetch,
					    const struct disk_slice *slice)
{
	const struct fetch_reuse key = { .content = slice->content, .length = slice->length };
	const struct fetch_reuse *found = NULL;

	if (fetch->reuse_count)
		found = bsearch(&key, fetch->reuse, fetch->reuse_count, sizeof(key),
				fetch_compare_reuse);
	while (found && found > fetch->reuse && fetch_compare_reuse(found - 1, &key) == 0)
		found--;
	return found;
}

/* Return: 1 done, 0 nobody has it, or error. A source that cannot be read is as if it were not. */
static int reuse(const struct work *work, const struct disk_slice *slice, const volatile bool *stop,
		 struct error *err)
{
	const struct fetch *fetch = work->fetch;
	const struct fetch_reuse *end = fetch->reuse + fetch->reuse_count;
	const struct fetch_reuse *first = find_reuse(fetch, slice);

	for (const struct fetch_reuse *e = first;
	     e && e < end && fetch_compare_reuse(e, first) == 0; e++) {
		struct error why = ERROR_INIT;
		int r = 0;

		if (!e->decoded || !digest_equal(&e->blob, &slice->blob.digest))
			r = tell_not_decoded(work, err);
		if (r < 0)
			return r;
		r = take_over(work, e->fd, e->offset, slice, stop, &why);
		if (r > 0)
			return 1;
		if (r == -ENOSPC || r == -EDQUOT || r == -E_CANCELLED) {
			*err = why;
			return r;
		}
		r = make_hole(work, slice, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int wrong_slice(const struct incoming *in, struct error *err)
{
	return remote_wrap_blob(in->work->fetch->remote, &in->slice->blob, NULL, err);
}

static int receive(void *arg, const void *bytes, size_t len, struct error *err)
{
	struct incoming *in = arg;

	if (*in->stop)
		return cancelled(err);
	in->received += len;
	report(in->work, len);
	return apple_lz4_decode(in->decoder, bytes, len, err) < 0 ? wrong_slice(in, err) : 0;
}

static int check_content(struct incoming *in, struct error *err)
{
	const struct disk_slice *slice = in->slice;
	struct digest digest;
	char found[DIGEST_TEXT], wanted[DIGEST_TEXT];
	int r = apple_lz4_decode_end(in->decoder, err);

	if (r == 0 && apple_lz4_decoded(in->decoder) != slice->length)
		r = error_set(err, E_INVALID, "it holds %llu plain bytes instead of %llu",
			      (unsigned long long)apple_lz4_decoded(in->decoder),
			      (unsigned long long)slice->length);
	if (r == 0)
		r = sparse_end(&in->writer, &digest, err);
	if (r < 0 || digest_equal(&digest, &slice->content))
		return r;
	digest_format(&digest, found);
	digest_format(&slice->content, wanted);
	return error_set(err, E_INVALID, "its content is %s instead of %s", found, wanted);
}

static int download(const struct work *work, const struct disk_slice *slice,
		    const volatile bool *stop, struct error *err)
{
	struct incoming in = {
		.work = work, .slice = slice, .stop = stop, .writer = SPARSE_WRITER_INIT
	};
	int r;

	in.decoder = apple_lz4_decoder_new(slice->length, sparse_write, &in.writer);
	r = sparse_begin(&in.writer, work->fetch->fd, slice->offset, slice->length, err);
	if (r == 0)
		r = remote_get_blob(work->fetch->remote, &slice->blob, receive, &in, err);
	if (r == 0 && check_content(&in, err) < 0)
		r = wrong_slice(&in, err);
	in.decoder = apple_lz4_decoder_free(in.decoder);
	sparse_release(&in.writer);
	return r;
}

/* The content into the place of @slice, which is a hole. */
static int obtain(const struct work *work, const struct disk_slice *slice,
		  const volatile bool *stop, struct error *err)
{
	int r = reuse(work, slice, stop, err);

	if (r > 0)
		report(work, slice->blob.size);
	return r == 0 ? download(work, slice, stop, err) : r < 0 ? r : 0;
}

static void begin_writing_out(const struct work *work, const struct disk_slice *slice)
{
	(void)sync_file_range(work->fetch->fd, (off_t)slice->offset, (off_t)slice->length,
			      SYNC_FILE_RANGE_WRITE);
}

/* Which of a group's slices is there already? Return: 1 with it in *present, 0 none is, or error.
 */
static int find_present(const struct work *work, const struct group *group,
			const volatile bool *stop, const struct disk_slice **present,
			struct error *err)
{
	for (size_t i = 0; i < group->count && !work->fetch->fresh; i++) {
		const struct disk_slice *slice = &work->fetch->slices[group->members[i]];
		int r;

		if (is_hole(work, slice))
			continue;
		r = is_right(work, slice, stop, err);
		if (r > 0)
			*present = slice;
		if (r == 0)
			r = make_hole(work, slice, err);
		if (r != 0)
			return r;
	}
	return 0;
}

/* The other slices of a group, from the one that is right. */
static int repeat(const struct work *work, const struct group *group,
		  const struct disk_slice *source, const volatile bool *stop, struct error *err)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct disk_slice *slice = &work->fetch->slices[group->members[i]];
		int r = 0;

		if (slice == source)
			continue;
		if (!work->fetch->fresh && !is_hole(work, slice))
			r = is_right(work, slice, stop, err);
		if (r == 0)
			r = make_hole(work, slice, err);
		if (r == 0 && !digest_equal(&slice->blob.digest, &source->blob.digest))
			r = tell_not_decoded(work, err);
		if (r == 0) {
			r = take_over(work, work->fetch->fd, source->offset, slice, stop, err);
			if (r == 0)
				return error_set(err, E_FAILED,
						 "the disk changed while it was written");
		}
		if (r < 0)
			return r;
		report(work, slice->blob.size);
		begin_writing_out(work, slice);
	}
	return 0;
}

/* What their blobs hold is looked into by whoever would pass them on (oci/send.c). */
static int leave_holes(const struct work *work, const struct group *group, struct error *err)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct disk_slice *slice = &work->fetch->slices[group->members[i]];
		int r = make_hole(work, slice, err);

		if (r < 0)
			return r;
		report(work, slice->blob.size);
	}
	return 0;
}

static int do_group(void *arg, size_t index, const volatile bool *stop, struct error *err)
{
	struct work *work = arg;
	const struct group *group = &work->groups[index];
	const struct disk_slice *first = &work->fetch->slices[group->members[0]];
	const struct disk_slice *source = first;
	int r;

	if (zero_is_slice(&work->zero, first))
		return leave_holes(work, group, err);
	r = find_present(work, group, stop, &source, err);
	if (r > 0)
		report(work, source->blob.size);
	if (r == 0)
		r = obtain(work, first, stop, err);
	if (r < 0)
		return r;
	begin_writing_out(work, source);
	return repeat(work, group, source, stop, err);
}

static int compare_slices(const void *a, const void *b, void *arg)
{
	const struct disk_slice *slices = arg;
	size_t i = *(const size_t *)a, j = *(const size_t *)b;
	int order = digest_compare(&slices[i].content, &slices[j].content);

	if (order == 0)
		order = slices[i].length < slices[j].length ? -1
							    : slices[i].length > slices[j].length;
	return order ? order : i < j ? -1 : i > j;
}

static int compare_groups(const void *a, const void *b)
{
	size_t i = ((const struct group *)a)->members[0], j = ((const struct group *)b)->members[0];

	return i < j ? -1 : i > j;
}

/* Return: how many groups there are; @order is filled with what they refer to. */
static size_t make_groups(const struct fetch *fetch, size_t *order, struct group *groups)
{
	const struct disk_slice *slices = fetch->slices;
	size_t count = 0;

	for (size_t i = 0; i < fetch->count; i++)
		order[i] = i;
	qsort_r(order, fetch->count, sizeof(order[0]), compare_slices, (void *)(uintptr_t)slices);
	for (size_t i = 0; i < fetch->count; i++) {
		const struct disk_slice *s = &slices[order[i]],
					*before = i ? &slices[order[i - 1]] : s;

		if (i == 0 || !digest_equal(&s->content, &before->content) ||
		    s->length != before->length)
			groups[count++].members = &order[i];
		groups[count - 1].count++;
	}
	qsort(groups, count, sizeof(groups[0]), compare_groups);
	return count;
}

int fetch_slices(const struct fetch *fetch, struct error *err)
{
	struct work work = { .fetch = fetch, .zero = ZERO_DIGESTS_INIT };
	auto_free size_t *order = NULL;
	auto_free struct group *groups = NULL;

	if (fetch->count == 0)
		return 0;
	order = xcalloc(fetch->count, sizeof(*order));
	groups = xcalloc(fetch->count, sizeof(*groups));
	work.groups = groups;
	return parallel_run(fetch->threads, make_groups(fetch, order, groups), do_group, &work,
			    err);
}
