/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/send.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "oci/apple_lz4.h"
#include "oci/hash.h"
#include "oci/name.h"
#include "oci/parallel.h"
#include "oci/remote.h"
#include "oci/zero_digest.h"

/*
 * Theory of operation
 * -------------------
 *
 * Two rounds of jobs. In the first each slice of the known image is hashed where the disk has it
 * still; one that holds what it held, and whose blob the repository has or takes over, is settled.
 * The rest of the disk is cut into pieces of the slice size, beginning anew after each
 * settled slice, and in the second round each piece is compressed and uploaded.
 *
 * A digest must be known before an upload begins, so the compressed bytes wait in a file without
 * a name: memory is bounded whatever the size of a slice, and small ones never reach the disk.
 *
 * Pieces of zeroes alone are compressed once for each length.
 */

enum { READ_PIECE = 1024 * 1024, SPOOL_PIECE = 1024 * 1024, SLICES_MAX = 8000 };
/* What a manifest holds: a slice takes up to 360 bytes of its text. */
enum { SLICES_LIMIT = MANIFEST_MAX / 360 };
#define SLICE_SIZE_MIN (UINT64_C(16) << 20)

DEFINE_VEC(slices, struct disk_slice)

/* A slice of zeroes that the repository has; only its place is its own. */
DEFINE_VEC(zero_slices, struct disk_slice)

struct job {
	const struct send *send;
	struct disk_slice *known; /* first round: a copy of the known slices */
	bool *settled; /* which of them are */
	struct slices pieces; /* second round */
	pthread_mutex_t mutex; /* guards what follows */
	struct zero_slices known_zero; /* known slices of zeroes that are settled */
	struct zero_slices zero; /* pieces of zeroes that are uploaded */
	struct zero_digests digests; /* has its own */
};

/* The two forms of a piece, on their way through the encoder. */
struct encoding {
	struct apple_lz4_encoder *encoder;
	struct hash content, blob;
	struct str out; /* compressed, not written yet */
	int spool;
	uint64_t size; /* of what is written to it */
};

uint64_t send_slice_size(uint64_t size)
{
	uint64_t slice = SLICE_SIZE_MIN;

	while ((size + slice - 1) / slice >= SLICES_MAX)
		slice *= 2;
	return slice;
}

static void report(const struct send *send, uint64_t bytes)
{
	if (send->progress && bytes)
		send->progress(send->arg, bytes);
}

static int cancelled(struct error *err)
{
	return error_set(err, E_CANCELLED, "another slice failed");
}

typedef int (*give_fn)(void *arg, const uint8_t *bytes, size_t len, struct error *err);

/* Give the plain bytes of the disk at the place of @slice, a piece at a time. */
static int read_slice(const struct send *send, const struct disk_slice *slice,
		      const volatile bool *stop, give_fn give, void *arg, struct error *err)
{
	const struct send_source *source = send->source;
	auto_free uint8_t *piece = xmalloc(READ_PIECE);
	int r = 0;

	for (uint64_t done = 0; done < slice->length && r == 0;) {
		uint64_t left = slice->length - done;
		size_t part = left < READ_PIECE ? (size_t)left : READ_PIECE;

		if (*stop)
			return cancelled(err);
		r = source->read(source->arg, piece, part, slice->offset + done, err);
		if (r == 0)
			r = give(arg, piece, part, err);
		done += part;
	}
	return r;
}

static int add_to_hash(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	(void)err;
	hash_add(arg, bytes, len);
	return 0;
}

/* Does the repository have the blob, or take it over? Return: 1, 0 or error. */
static int is_to_be_had(const struct send *send, const struct blob *blob, struct error *err)
{
	int r = remote_has_blob(send->remote, blob, err);

	if (r == 0 && send->known_from)
		r = remote_mount_blob(send->remote, blob, send->known_from, err);
	return r;
}

/* Return: 1, 0 or error. */
static int is_zero(const struct send *send, const struct disk_slice *slice, struct error *err)
{
	uint64_t start, end;
	int r = send->source->next_data(send->source->arg, slice->offset, &start, &end, err);

	if (r < 0)
		return r;
	return r == 0 || start >= slice->offset + slice->length;
}

static int must_be_zero(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	(void)arg;
	return fs_all_zero(bytes, len) ? 0 : error_set(err, E_INVALID, "it is not all zeroes");
}

static int decode(void *arg, const void *bytes, size_t len, struct error *err)
{
	return apple_lz4_decode(arg, bytes, len, err);
}

/*
 * Nobody fetched the blob of a slice of zeroes, so nobody looked into it. Return: does it hold
 * them? One that cannot be had to look into does not count.
 */
static bool blob_holds_zeroes(const struct send *send, const struct disk_slice *slice)
{
	struct apple_lz4_decoder *decoder =
		apple_lz4_decoder_new(slice->length, must_be_zero, NULL);
	struct error ignored = ERROR_INIT;
	bool good = remote_get_blob(send->remote, &slice->blob, decode, decoder, &ignored) == 0 &&
		    apple_lz4_decode_end(decoder, &ignored) == 0 &&
		    apple_lz4_decoded(decoder) == slice->length;

	(void)apple_lz4_decoder_free(decoder);
	return good;
}

/* With the mutex, so that others of this length wait for the first. Return: 1, 0 or error. */
static int settle_zero_locked(struct job *job, const struct disk_slice *slice, struct error *err)
{
	int r;

	for (size_t i = 0; i < job->known_zero.len; i++)
		if (digest_equal(&job->known_zero.items[i].blob.digest, &slice->blob.digest))
			return 1;
	r = is_to_be_had(job->send, &slice->blob, err);
	if (r > 0 && !blob_holds_zeroes(job->send, slice))
		r = 0;
	if (r > 0)
		zero_slices_add(&job->known_zero, *slice);
	return r;
}

/* A known slice where the disk has zeroes. Return: 1 settled, 0 not, or error. */
static int settle_zero(struct job *job, const struct disk_slice *slice, struct error *err)
{
	int r;

	if (!zero_is_slice(&job->digests, slice))
		return 0;
	(void)pthread_mutex_lock(&job->mutex);
	r = settle_zero_locked(job, slice, err);
	(void)pthread_mutex_unlock(&job->mutex);
	return r;
}

/* A known slice where the disk has data. Return: 1 settled, 0 not, or error. */
static int settle_data(const struct job *job, const struct disk_slice *slice,
		       const volatile bool *stop, struct error *err)
{
	auto_hash hash = HASH_INIT;
	struct digest digest;
	int r;

	hash_begin(&hash);
	r = read_slice(job->send, slice, stop, add_to_hash, &hash, err);
	if (r < 0)
		return r;
	hash_end(&hash, &digest);
	if (!digest_equal(&digest, &slice->content))
		return 0;
	return is_to_be_had(job->send, &slice->blob, err);
}

/* First round. */
static int settle(void *arg, size_t index, const volatile bool *stop, struct error *err)
{
	struct job *job = arg;
	const struct disk_slice *slice = &job->known[index];
	int r = is_zero(job->send, slice, err);

	if (r > 0)
		r = settle_zero(job, slice, err);
	else if (r == 0)
		r = settle_data(job, slice, stop, err);
	if (r > 0)
		report(job->send, slice->length);
	job->settled[index] = r > 0;
	return r < 0 ? r : 0;
}

static int settle_known(struct job *job, size_t count, struct error *err)
{
	return parallel_run(job->send->threads, count, settle, job, err);
}

/* Cut [from, to) into pieces for the second round. */
static void cut(struct job *job, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t length = job->send->slice_size;

		if (length > to - from)
			length = to - from;
		slices_add(&job->pieces, (struct disk_slice){ .offset = from, .length = length });
		from += length;
	}
}

/*
 * A changed slice that is no longer than ours is cut where it was, so that its neighbours keep
 * their places, too. @count known slices lie within the disk.
 */
static void cut_rest(struct job *job, size_t count)
{
	uint64_t from = 0;

	for (size_t i = 0; i < count; i++) {
		const struct disk_slice *slice = &job->known[i];

		cut(job, from, slice->offset);
		if (!job->settled[i])
			cut(job, slice->offset, slice->offset + slice->length);
		from = slice->offset + slice->length;
	}
	cut(job, from, job->send->source->size);
}

static int write_out(struct encoding *e, struct error *err)
{
	int r = fs_pwrite_all(e->spool, e->out.ptr, e->out.len, (off_t)e->size, err);

	if (r < 0)
		return error_wrap(err, "compressed bytes on their way");
	hash_add(&e->blob, e->out.ptr, e->out.len);
	e->size += e->out.len;
	str_reset(&e->out);
	return 0;
}

static int encode(void *arg, const uint8_t *bytes, size_t len, struct error *err)
{
	struct encoding *e = arg;

	hash_add(&e->content, bytes, len);
	for (size_t done = 0; done < len; done += APPLE_LZ4_BLOCK) {
		size_t part = len - done < APPLE_LZ4_BLOCK ? len - done : APPLE_LZ4_BLOCK;

		apple_lz4_encode(e->encoder, bytes + done, part, &e->out);
	}
	return e->out.len < SPOOL_PIECE ? 0 : write_out(e, err);
}

/* A file without a name in @directory. Return: fd or error. */
static int open_spool(const char *directory, struct error *err)
{
	auto_free char *path = NULL;
	char random[17];
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd >= 0 ? fd : error_errno(err, "cannot write in '%s'", directory);
	fs_random_hex(random, 8);
	path = str_format("%s/spool-%s", directory, random);
	fd = fs_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, err);
	if (fd >= 0)
		(void)unlink(path);
	return fd;
}

static void encoding_release(struct encoding *e)
{
	e->encoder = apple_lz4_encoder_free(e->encoder);
	hash_release(&e->content);
	hash_release(&e->blob);
	str_release(&e->out);
	cleanup_close_(&e->spool);
}
#define auto_encoding cleanup_(encoding_release) struct encoding

/* Compress the place of @slice into the spool and fill in @slice. */
static int compress(const struct send *send, struct disk_slice *slice, struct encoding *e,
		    const volatile bool *stop, struct error *err)
{
	int r = e->spool = open_spool(send->spool, err);

	if (r < 0)
		return r;
	e->encoder = apple_lz4_encoder_new();
	hash_begin(&e->content);
	hash_begin(&e->blob);
	r = read_slice(send, slice, stop, encode, e, err);
	if (r < 0)
		return r;
	apple_lz4_encode_end(&e->out);
	r = write_out(e, err);
	if (r < 0)
		return r;
	hash_end(&e->content, &slice->content);
	hash_end(&e->blob, &slice->blob.digest);
	slice->blob.size = e->size;
	return 0;
}

static int compress_and_put(const struct send *send, struct disk_slice *slice,
			    const volatile bool *stop, struct error *err)
{
	auto_encoding e = { .content = HASH_INIT, .blob = HASH_INIT, .out = STR_INIT, .spool = -1 };
	int r = compress(send, slice, &e, stop, err);

	if (r == 0)
		r = remote_has_blob(send->remote, &slice->blob, err);
	if (r != 0)
		return r < 0 ? r : 0;
	return *stop ? cancelled(err) : remote_put_blob(send->remote, &slice->blob, e.spool, err);
}

/* With the mutex, so that others of this length wait for the first. */
static int put_zero_locked(struct job *job, struct disk_slice *slice, const volatile bool *stop,
			   struct error *err)
{
	struct disk_slice piece = *slice;
	int r;

	for (size_t i = 0; i < job->zero.len; i++) {
		if (job->zero.items[i].length != slice->length)
			continue;
		slice->content = job->zero.items[i].content;
		slice->blob = job->zero.items[i].blob;
		return 0;
	}
	r = compress_and_put(job->send, &piece, stop, err);
	if (r < 0)
		return r;
	*slice = piece;
	zero_slices_add(&job->zero, piece);
	return 0;
}

static int put_zero(struct job *job, struct disk_slice *slice, const volatile bool *stop,
		    struct error *err)
{
	int r;

	(void)pthread_mutex_lock(&job->mutex);
	r = put_zero_locked(job, slice, stop, err);
	(void)pthread_mutex_unlock(&job->mutex);
	return r;
}

/* Second round. */
static int put_piece(void *arg, size_t index, const volatile bool *stop, struct error *err)
{
	struct job *job = arg;
	struct disk_slice *slice = &job->pieces.items[index];
	int r = is_zero(job->send, slice, err);

	if (r > 0)
		r = put_zero(job, slice, stop, err);
	else if (r == 0)
		r = compress_and_put(job->send, slice, stop, err);
	if (r == 0)
		report(job->send, slice->length);
	return r;
}

static int compare_offsets(const void *a, const void *b)
{
	const struct disk_slice *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The settled slices and the pieces, in order. */
static void collect(const struct job *job, size_t count, struct slices *all)
{
	for (size_t i = 0; i < count; i++)
		if (job->settled[i])
			slices_add(all, job->known[i]);
	for (size_t i = 0; i < job->pieces.len; i++)
		slices_add(all, job->pieces.items[i]);
	if (all->len) /* qsort() takes no null pointer */
		qsort(all->items, all->len, sizeof(all->items[0]), compare_offsets);
}

/*
 * How many of the known slices lie within the disk as it is now. So many that a manifest might not
 * hold them and what is cut anew are of no use.
 */
static size_t known_within(const struct send *send)
{
	size_t count = 0;

	if (send->known_count > SLICES_LIMIT - 2 * SLICES_MAX)
		return 0;
	while (count < send->known_count &&
	       send->known[count].offset + send->known[count].length <= send->source->size)
		count++;
	return count;
}

static int run(struct job *job, size_t count, struct slices *all, struct error *err)
{
	int r = settle_known(job, count, err);

	if (r < 0)
		return r;
	cut_rest(job, count);
	if (job->pieces.len > SLICES_LIMIT)
		return error_set(err, E_FAILED,
				 "%zu slices are too many for an image (%d at most): it needs "
				 "larger ones",
				 job->pieces.len, SLICES_LIMIT);
	if (job->pieces.len)
		r = parallel_run(job->send->threads, job->pieces.len, put_piece, job, err);
	if (r == 0)
		collect(job, count, all);
	return r;
}

int send_disk(const struct send *send, struct disk_slice **slices, size_t *count, struct error *err)
{
	size_t known = known_within(send);
	auto_free struct disk_slice *copy = xcalloc(known + 1, sizeof(*copy));
	auto_free bool *settled = xcalloc(known + 1, sizeof(*settled));
	struct job job = { .send = send,
			   .known = copy,
			   .settled = settled,
			   .mutex = PTHREAD_MUTEX_INITIALIZER,
			   .digests = ZERO_DIGESTS_INIT };
	struct slices all = VEC_INIT;
	int r;

	if (known)
		memcpy(copy, send->known, known * sizeof(*copy));
	r = run(&job, known, &all, err);
	slices_release(&job.pieces);
	zero_slices_release(&job.known_zero);
	zero_slices_release(&job.zero);
	if (r < 0) {
		slices_release(&all);
		return r;
	}
	*slices = all.items;
	*count = all.len;
	return 0;
}
