/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "cli/table.h"
#include "cmd/command.h"
#include "cmd/transfer_args.h"
#include "oci/fetch.h"
#include "oci/hash.h"
#include "oci/zero_digest.h"
#include "store/cache.h"
#include "store/cache_pull.h"
#include "store/config.h"
#include "store/network.h"
#include "store/network_copy.h"
#include "transfer/connect.h"
#include "transfer/progress.h"
#include "transfer/reuse.h"
#include "transfer/runners.h"

/*
 * Theory of operation
 * -------------------
 *
 * name -> manifest -> is it here? -> cache/pulls/HEX under its lock -> is it here now? -> make room
 * -> config, disk, NVRAM, manifest -> fsync, rename into the cache -> link the tag -> gc.
 *
 * The directory is whole only at the rename, and stays where anything fails: it holds nothing
 * but verified slices and one or more that were in flight, which the next pull finds by hashing.
 */

#define SPARE_ROOM (UINT64_C(128) << 20) /* bytes beyond the disk (contract 4.7) */

struct pull {
	const struct home *home;
	const struct invocation *inv;
	const struct pull_args *args;
	struct oci_name name; /* as it was asked for */
	struct oci_name by_digest; /* the same image */
	struct remote *remote;
	struct str text; /* of the manifest */
	struct digest digest;
	struct manifest manifest;
	struct cache_pull dir;
};

static void pull_release(struct pull *pull)
{
	oci_name_release(&pull->name);
	oci_name_release(&pull->by_digest);
	pull->remote = remote_free(pull->remote);
	str_release(&pull->text);
	manifest_release(&pull->manifest);
	cache_pull_release(&pull->dir);
}
#define auto_pull cleanup_(pull_release) struct pull

static void say_of_image(const struct pull *pull, const char *what)
{
	auto_str name = STR_INIT;

	oci_name_add(&pull->by_digest, &name);
	(void)printf("%s image is already cached%s\n", name.ptr, what);
}

static void say_waiting(void)
{
	(void)printf("waiting for lock...\n");
}

static int wrong_manifest(const struct pull *pull, struct error *err)
{
	if (err->code == E_FAILED) /* a sentence of the contract's */
		return -err->code;
	return remote_wrap_manifest(pull->remote, oci_name_reference(&pull->name), err);
}

static int get_manifest(struct pull *pull, struct error *err)
{
	const struct connect_options how = { .insecure = pull->args->insecure };
	char digest[DIGEST_TEXT];
	int r = connect_remote(pull->inv, &pull->name, &how, &pull->remote, err);

	if (r < 0)
		return r;
	(void)printf("pulling manifest...\n");
	r = remote_get_manifest(pull->remote, oci_name_reference(&pull->name), &pull->text,
				&pull->digest, err);
	if (r < 0)
		return r;
	if (manifest_parse(pull->text.ptr, pull->text.len, &pull->manifest, err) < 0)
		return wrong_manifest(pull, err);
	digest_format(&pull->digest, digest);
	oci_name_with_digest(&pull->name, digest, &pull->by_digest);
	return 0;
}

/* Is the tag what we would make it? Return: 1, 0 or error. */
static int is_linked(const struct pull *pull, struct error *err)
{
	struct digest found;
	int r = pull->name.tag ? cache_find(pull->home, &pull->name, &found, err) : 0;

	return r > 0 ? digest_equal(&found, &pull->digest) : r;
}

/*
 * Where the image itself is in the cache, by this name, only the tag is made; one that is asked
 * for by its digest gets its mark. Return: 1 done; 0 it is not there; or error.
 */
static int link_cached(const struct pull *pull, struct error *err)
{
	auto_vm image = VM_INIT; /* open, so that it is not removed meanwhile; and now accessed */
	int r = cache_open(pull->home, &pull->by_digest, /* quiet= */ false, &image, err);

	if (r < 0)
		return r == -E_NOT_FOUND ? 0 : r;
	r = pull->name.digest ? 1 : is_linked(pull, err);
	if (r < 0)
		return r;
	say_of_image(pull, r > 0 ? " and linked!" : "! creating a symlink...");
	if (r == 0 || !pull->name.tag)
		r = cache_link(pull->home, &pull->name, &pull->digest, err);
	return r < 0 ? r : 1;
}

/* The plain bytes that are not known to be zeroes. */
static uint64_t bytes_to_store(const struct manifest *manifest)
{
	struct zero_digests zero = ZERO_DIGESTS_INIT;
	uint64_t sum = 0;

	for (size_t i = 0; i < manifest->slice_count; i++)
		if (!zero_is_slice(&zero, &manifest->slices[i]))
			sum += manifest->slices[i].length;
	return sum;
}

static int make_room(const struct pull *pull, struct error *err)
{
	uint64_t needed = bytes_to_store(&pull->manifest) + SPARE_ROOM, present = 0;
	auto_str removed = STR_INIT;
	struct stat st;
	int r;

	if (fstatat(pull->dir.dir, "disk.img", &st, AT_SYMLINK_NOFOLLOW) == 0)
		present = fs_allocated(&st);
	r = cache_reclaim(pull->home, needed > present ? needed - present : 0, NULL, &removed, err);
	(void)fputs(removed.ptr, stderr);
	return r;
}

/* The first name by which the very same image is in the cache. Return: 1 @vm is open, 0 none. */
static int find_twin(const struct pull *pull, struct vm *vm)
{
	auto_cache_entries images = VEC_INIT;
	struct error ignored = ERROR_INIT;

	if (cache_list(pull->home, &images, &ignored) < 0)
		return 0;
	for (size_t i = 0; i < images.len; i++)
		if (images.items[i].name.digest &&
		    digest_equal(&images.items[i].digest, &pull->digest) &&
		    cache_open(pull->home, &images.items[i].name, /* quiet= */ true, vm,
			       &ignored) == 0)
			return 1;
	return 0;
}

/* See CACHE_UNVERIFIED. */
static int mark_unverified(void *arg, struct error *err)
{
	const struct pull *pull = arg;
	auto_fd fd = fs_open(pull->dir.dir, CACHE_UNVERIFIED, O_WRONLY | O_CREAT | O_NOFOLLOW, err);

	return fd < 0 ? fd : 0;
}

/* Nothing in an image is ever changed: its files may be the twin's. Return: 1 done, 0 cannot. */
static int link_twin(const struct pull *pull, const struct vm *twin)
{
	static const struct {
		const char *name;
		bool needed;
	} files[] = {
		{ "config.json", true },     { "manifest.json", true }, { "nvram.bin", true },
		{ NETWORK_SETTINGS, false }, { NETWORK_FILTER, false }, { "disk.img", true },
	};

	if (pull->manifest.overlay_count)
		return 0;
	for (size_t i = 0; i < array_size(files); i++) {
		const char *name = files[i].name;

		(void)unlinkat(pull->dir.dir, name, 0);
		if (linkat(twin->dir, name, pull->dir.dir, name, 0) < 0 &&
		    (files[i].needed || errno != ENOENT))
			return 0;
	}
	return 1;
}

static int use_twin(struct pull *pull)
{
	auto_vm twin = VM_INIT;
	struct error ignored = ERROR_INIT;

	if (!find_twin(pull, &twin) ||
	    (faccessat(twin.dir, CACHE_UNVERIFIED, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
	     mark_unverified(pull, &ignored) < 0))
		return 0;
	return link_twin(pull, &twin);
}

static int store_small(const struct pull *pull, const char *file, const struct str *bytes,
		       struct error *err)
{
	return fs_replace_file(pull->dir.dir, file, bytes->ptr, bytes->len, 0600, err);
}

/* A config that we could not read would make an image that lists but is broken. */
static int pull_config(const struct pull *pull, struct error *err)
{
	auto_config config = CONFIG_INIT;
	auto_str bytes = STR_INIT;
	int r = remote_get_small_blob(pull->remote, &pull->manifest.vm_config, MANIFEST_CONFIG_MAX,
				      &bytes, err);

	if (r < 0)
		return r;
	r = config_parse(bytes.ptr, bytes.len, &config, err);
	return r < 0 ? remote_wrap_blob(pull->remote, &pull->manifest.vm_config, "VM config", err)
		     : store_small(pull, "config.json", &bytes, err);
}

/*
 * The labels that fence its network in: a clone has what they say, so what they say has to be
 * known. They are the only part of the image config that matters.
 */
static int pull_network(const struct pull *pull, struct error *err)
{
	const struct blob *blob = &pull->manifest.image_config;
	const struct vm to = { .name = pull->by_digest.repository, .dir = pull->dir.dir };
	auto_network_copy network = NETWORK_COPY_INIT;
	auto_str text = STR_INIT;
	int r = remote_get_small_blob(pull->remote, blob, MANIFEST_CONFIG_MAX, &text, err);

	if (r < 0)
		return r;
	if (network_copy_parse_labels(text.ptr, text.len, &network, err) < 0)
		return remote_wrap_blob(pull->remote, blob, "image config", err);
	return network_copy_write(&to, &network, err);
}

static int pull_nvram(const struct pull *pull, struct error *err)
{
	auto_str bytes = STR_INIT;
	int r;

	(void)printf("pulling NVRAM...\n");
	r = remote_get_small_blob(pull->remote, &pull->manifest.nvram, MANIFEST_SMALL_BLOB_MAX,
				  &bytes, err);
	return r < 0 ? r : store_small(pull, "nvram.bin", &bytes, err);
}

/* Open the file that is to hold @size bytes. @fresh: it holds nothing. Return: fd or error. */
static int open_target(const struct pull *pull, const char *file, uint64_t size, bool *fresh,
		       struct error *err)
{
	auto_fd fd = cache_pull_file(&pull->dir, file, err);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return error_errno(err, "%s", file);
	*fresh = st.st_blocks == 0;
	if ((uint64_t)st.st_size != size &&
	    (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)size) < 0))
		return error_errno(err, "cannot make %s of %" PRIu64 " bytes", file, size);
	return take_fd(&fd);
}

/* Fill one file and make it durable. Return: fd, or error. */
static int pull_file(const struct pull *pull, const char *file, uint64_t size, struct fetch *fetch,
		     struct error *err)
{
	auto_fd fd = open_target(pull, file, size, &fetch->fresh, err);
	int r;

	if (fd < 0)
		return fd;
	fetch->fd = fd;
	r = fetch_slices(fetch, err);
	if (r < 0)
		return r;
	if (fsync(fd) < 0)
		return error_errno(err, "cannot write %s", file);
	return take_fd(&fd);
}

static int check_whole_file(int fd, const struct overlay *overlay, const char *file,
			    struct error *err)
{
	static const size_t piece = 256 * 1024;
	auto_free char *buffer = xmalloc(piece);
	auto_hash hash = HASH_INIT;
	struct digest digest;
	int r = 0;

	hash_begin(&hash);
	for (uint64_t at = 0; at < overlay->size && r == 0;) {
		uint64_t left = overlay->size - at;
		size_t part = left < piece ? (size_t)left : piece;

		r = fs_pread_all(fd, buffer, part, (off_t)at, err);
		hash_add(&hash, buffer, part);
		at += part;
	}
	if (r < 0)
		return r;
	hash_end(&hash, &digest);
	if (digest_equal(&digest, &overlay->file))
		return 0;
	return error_set(err, E_INVALID, "%s is not what the manifest says: its digest differs",
			 file);
}

/* The overlays of a stacked image: overlay-1.asif is the lowest. */
static int pull_overlays(const struct pull *pull, struct fetch *fetch, struct error *err)
{
	fetch->reuse_count = 0; /* of disks alone */
	for (size_t i = 0; i < pull->manifest.overlay_count; i++) {
		const struct overlay *overlay = &pull->manifest.overlays[i];
		auto_free char *file = str_format("overlay-%zu.asif", i + 1);
		auto_fd fd = -1;
		int r;

		fetch->slices = overlay->slices;
		fetch->count = overlay->count;
		fd = pull_file(pull, file, overlay->size, fetch, err);
		r = fd < 0 ? fd : check_whole_file(fd, overlay, file, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void say_disk(uint64_t compressed)
{
	auto_str size = STR_INIT;

	size_add(&size, compressed);
	(void)printf("pulling disk (%s compressed)...\n", size.ptr);
}

static int pull_disk(struct pull *pull, struct error *err)
{
	const struct manifest *manifest = &pull->manifest;
	auto_reuse reuse = REUSE_INIT;
	struct progress progress;
	struct fetch fetch = {
		.remote = pull->remote,
		.slices = manifest->slices,
		.count = manifest->disk_slices,
		.threads = concurrency_of(pull->args->concurrency),
		.progress = progress_add,
		.arg = &progress,
		.blob_not_decoded = mark_unverified,
		.blob_arg = pull,
	};
	auto_fd fd = -1;
	int r;

	reuse_gather(&reuse, pull->home, manifest);
	fetch.reuse = reuse.entries;
	fetch.reuse_count = reuse.count;
	say_disk(manifest_compressed_size(manifest));
	progress_begin(&progress, manifest_compressed_size(manifest));
	fd = pull_file(pull, "disk.img", manifest->disk_size, &fetch, err);
	r = fd < 0 ? fd : pull_overlays(pull, &fetch, err);
	progress_end(&progress, r == 0);
	return r;
}

static int fill(struct pull *pull, struct error *err)
{
	int r = pull_config(pull, err);

	if (r == 0)
		r = pull_network(pull, err);
	if (r == 0)
		r = pull_disk(pull, err);
	if (r == 0)
		r = pull_nvram(pull, err);
	return r < 0 ? r : store_small(pull, "manifest.json", &pull->text, err);
}

/* With the lock of the image's own directory in cache/pulls. */
static int pull_locked(struct pull *pull, struct error *err)
{
	int r = link_cached(pull, err);

	if (r != 0)
		return r < 0 ? r : 0;
	if (!use_twin(pull)) {
		r = make_room(pull, err);
		if (r == 0)
			r = fill(pull, err);
	}
	if (r < 0)
		return r;
	vm_touch(&(struct vm){ .dir = pull->dir.dir }); /* it may have been begun long ago */
	r = cache_publish(pull->home, &pull->by_digest, &pull->digest, pull->dir.path, err);
	return r < 0 ? r : cache_link(pull->home, &pull->name, &pull->digest, err);
}

static int pull_image(struct pull *pull, struct error *err)
{
	int r = get_manifest(pull, err);

	if (r == 0)
		r = link_cached(pull, err);
	if (r > 0)
		return 0;
	if (r == 0)
		r = cache_pull_open(pull->home, &pull->digest, say_waiting, &pull->dir, err);
	return r < 0 ? r : pull_locked(pull, err);
}

/* Not an image's name: a VM has nothing to be pulled. */
static int answer_local(const struct home *home, const char *name, struct error *err)
{
	auto_vm vm = VM_INIT;
	auto_oci_name parsed = OCI_NAME_INIT;
	struct error ignored = ERROR_INIT;

	if (vm_open(home, name, /* quiet= */ true, &vm, &ignored) < 0)
		return oci_name_parse(name, &parsed, err);
	(void)printf("\"%s\" is a local image, nothing to pull here!\n", name);
	return 0;
}

int pull_run(struct invocation *inv, void *data, struct error *err)
{
	const struct pull_args *args = data;
	auto_pull pull = { .home = &inv->home,
			   .inv = inv,
			   .args = args,
			   .text = STR_INIT,
			   .dir = CACHE_PULL_INIT };
	auto_str canonical = STR_INIT;
	int r;

	if (!oci_name_is_remote(args->name))
		return answer_local(&inv->home, args->name, err);
	r = oci_name_parse(args->name, &pull.name, err);
	if (r < 0)
		return r;
	oci_name_add(&pull.name, &canonical);
	if (!args->for_clone)
		(void)printf("pulling %s...\n", canonical.ptr);
	return pull_image(&pull, err);
}
