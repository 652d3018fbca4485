/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "cmd/command.h"
#include "cmd/transfer_args.h"
#include "oci/hash.h"
#include "oci/send.h"
#include "store/cache.h"
#include "store/disk.h"
#include "store/disk_reader.h"
#include "store/network_copy.h"
#include "store/origin.h"
#include "transfer/connect.h"
#include "transfer/overlays.h"
#include "transfer/populate.h"
#include "transfer/progress.h"
#include "transfer/retag.h"
#include "transfer/runners.h"
#include "transfer/targets.h"

/*
 * Theory of operation
 * -------------------
 *
 * The VM's .lock is held only to open its disk; from then on the reading lock says that it is in
 * use, so that nobody starts, deletes or changes it, while nobody who asks has to wait; a clone may
 * freeze it, which leaves the files that are open as they are. (Whoever holds that lock must not
 * open config.json, see store/vm.h: it is read before.)
 *
 * The targets are grouped by repository; each group has the blobs uploaded once, and the manifest
 * put under every name. What was pushed last becomes the VM's origin: the next push of it uploads
 * only what changed since.
 */

#define MB UINT64_C(1000000)

struct push {
	const struct invocation *inv;
	const struct push_args *args;
	struct vm vm;
	int running; /* its reading lock */
	struct disk_reader *disk;
	struct config config;
	struct str config_text; /* compact, as it travels */
	struct str nvram;
	struct network_copy network;
	struct origin origin;
	bool has_origin;
	json_t *labels;
};

static void push_release(struct push *push)
{
	push->disk = disk_reader_free(push->disk);
	cleanup_close_(&push->running);
	vm_release(&push->vm);
	config_release(&push->config);
	str_release(&push->config_text);
	str_release(&push->nvram);
	network_copy_release(&push->network);
	origin_release(&push->origin);
	json_decref(push->labels);
}
#define auto_push cleanup_(push_release) struct push

/* "key=value"; without '=' the value is empty, without a key it is ignored. */
static int parse_labels(const struct strings *labels, json_t *object, struct error *err)
{
	for (size_t i = 0; i < labels->len; i++) {
		const char *label = labels->items[i], *equals = strchr(label, '=');
		size_t length = equals ? (size_t)(equals - label) : strlen(label);
		auto_free char *key = xstrndup(label, length);

		if (!length)
			continue;
		if (json_object_set_new(object, key, json_string(equals ? equals + 1 : "")) < 0)
			return error_set(err, E_FAILED, "label '%.100s' is not UTF-8", label);
	}
	return 0;
}

static int read_config(struct push *push, struct error *err)
{
	auto_json *object = NULL;
	auto_str text = STR_INIT;
	int r = vm_read_config(&push->vm, &push->config, err);

	if (r < 0)
		return r;
	config_format(&push->config, &text);
	r = json_parse_object(text.ptr, text.len, &object, err);
	if (r == 0)
		json_add_compact(&push->config_text, object);
	return r;
}

static int read_network(struct push *push, struct error *err)
{
	int r = network_copy_read(&push->vm, &push->network, err);

	return r < 0 ? r : network_copy_add_labels(&push->network, push->labels, err);
}

/* With the .lock, which goes at the end. */
static int open_locked(struct push *push, struct error *err)
{
	auto_fd lock = vm_lock(&push->vm, err);
	int r = lock < 0 ? lock : read_config(push, err);

	if (r == 0)
		r = read_network(push, err);
	if (r == 0)
		r = fs_read_file(push->vm.dir, "nvram.bin", MANIFEST_SMALL_BLOB_MAX, &push->nvram,
				 err);
	if (r == 0)
		r = origin_read(&push->vm, &push->origin, err);
	push->has_origin = r > 0;
	if (r >= 0)
		r = vm_take_reading_lock(&push->vm, &push->running, err);
	if (r == 0)
		return error_set(err, E_RUNNING, "VM \"%s\" is running", push->vm.name);
	if (r > 0)
		r = disk_wait_unused(&push->vm, err);
	return r < 0 ? r : disk_reader_open(&push->vm, &push->disk, err);
}

static int open_vm(struct push *push, struct error *err)
{
	int r = vm_open(&push->inv->home, push->args->local, /* quiet= */ false, &push->vm, err);

	if (r == 0)
		r = open_locked(push, err);
	if (r == 0 && !push->origin.manifest.overlay_count &&
	    faccessat(push->vm.dir, "overlay-1.asif", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		r = error_set(
			err, E_FAILED,
			"VM \"%s\" has overlays, and it is not known what image they belong to",
			push->vm.name);
	if (r == 0 && disk_reader_size(push->disk) == 0)
		r = error_set(err, E_FAILED, "VM \"%s\" has an empty disk", push->vm.name);
	return r;
}

static int put_small(struct remote *remote, const struct str *bytes, struct blob *blob,
		     struct error *err)
{
	int r;

	hash_bytes(bytes->ptr, bytes->len, &blob->digest);
	blob->size = bytes->len;
	r = remote_has_blob(remote, blob, err);
	return r == 0 ? remote_put_small_blob(remote, blob, bytes->ptr, err) : r < 0 ? r : 0;
}

static int put_configs(const struct push *push, struct remote *remote, struct manifest *manifest,
		       struct error *err)
{
	auto_str image = STR_INIT;
	int r;

	(void)printf("pushing config...\n");
	image_config_format(config_arch_name(push->config.arch), config_os_name(push->config.os),
			    push->config.disk_format, push->labels, &image);
	r = put_small(remote, &push->config_text, &manifest->vm_config, err);
	return r < 0 ? r : put_small(remote, &image, &manifest->image_config, err);
}

static int read_disk(void *arg, void *bytes, size_t len, uint64_t offset, struct error *err)
{
	return disk_reader_read(arg, bytes, len, offset, err);
}

static int next_data(void *arg, uint64_t offset, uint64_t *start, uint64_t *end, struct error *err)
{
	return disk_reader_next_data(arg, offset, start, end, err);
}

static uint64_t slice_size_of(const struct push *push)
{
	if (push->args->slice_size.given)
		return push->args->slice_size.unsigned_value << 20;
	return send_slice_size(disk_reader_size(push->disk));
}

static int put_disk(const struct push *push, struct remote *remote, struct manifest *manifest,
		    struct error *err)
{
	const struct send_source source = {
		.size = disk_reader_size(push->disk),
		.read = read_disk,
		.next_data = next_data,
		.arg = push->disk,
	};
	struct progress progress;
	const struct send send = {
		.remote = remote,
		.source = &source,
		.slice_size = slice_size_of(push),
		/* a wish for slices of another size is one for other slices */
		.known = push->args->slice_size.given ? NULL : push->origin.manifest.slices,
		.known_count = push->args->slice_size.given ? 0 : push->origin.manifest.disk_slices,
		.known_from = push->has_origin ? &push->origin.name : NULL,
		.spool = push->inv->home.tmp,
		.threads = concurrency_of(push->args->concurrency),
		.progress = progress_add,
		.arg = &progress,
	};
	int r;

	(void)printf("pushing disk... this will take a while...\n");
	progress_begin(&progress, source.size);
	r = send_disk(&send, &manifest->slices, &manifest->slice_count, err);
	manifest->disk_slices = manifest->slice_count;
	manifest->disk_size = manifest->declared_size = source.size;
	if (r == 0)
		r = overlays_send(&push->vm, &push->origin.manifest, &send, manifest, err);
	progress_end(&progress, r == 0);
	return r;
}

static int put_nvram(const struct push *push, struct remote *remote, struct manifest *manifest,
		     struct error *err)
{
	(void)printf("pushing NVRAM...\n");
	return put_small(remote, &push->nvram, &manifest->nvram, err);
}

static int put_blobs(const struct push *push, struct remote *remote, struct manifest *manifest,
		     struct error *err)
{
	auto_str when = STR_INIT;
	int r = put_configs(push, remote, manifest, err);

	if (r == 0)
		r = put_disk(push, remote, manifest, err);
	if (r == 0)
		r = put_nvram(push, remote, manifest, err);
	clock_add_iso8601(&when, time(NULL));
	(void)snprintf(manifest->upload_time, sizeof(manifest->upload_time), "%s", when.ptr);
	return r;
}

static int put_manifests(const struct target *target, struct remote *remote, const struct str *text,
			 struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < target->references.len && r == 0; i++) {
		(void)printf("pushing manifest for %s...\n", target->references.items[i]);
		r = remote_put_manifest(remote, target->references.items[i], OCI_MEDIA_MANIFEST,
					text->ptr, text->len, err);
	}
	return r;
}

static int populate(const struct push *push, const struct target *target, const struct str *text,
		    struct error *err)
{
	struct populate image = {
		.vm = &push->vm,
		.disk = push->disk,
		.config = push->config_text.ptr,
		.config_len = push->config_text.len,
		.network = &push->network,
		.manifest = text->ptr,
		.manifest_len = text->len,
	};

	hash_bytes(text->ptr, text->len, &image.digest);
	return populate_cache(&push->inv->home, target, &image, err);
}

static int remember(const struct push *push, const struct target *target, const struct str *text,
		    struct error *err)
{
	char digest[DIGEST_TEXT];
	struct digest hash;
	auto_oci_name name = OCI_NAME_INIT;

	hash_bytes(text->ptr, text->len, &hash);
	digest_format(&hash, digest);
	oci_name_with_digest(&target->names.items[0], digest, &name);
	return origin_write(&push->vm, &name, text->ptr, text->len, err);
}

static int push_to(const struct push *push, const struct target *target, struct error *err)
{
	const struct connect_options how = {
		.insecure = push->args->insecure,
		.write = true,
		.chunk_size = push->args->chunk_size.value > 0
				      ? (uint64_t)push->args->chunk_size.value * MB
				      : 0,
	};
	auto_remote *remote = NULL;
	auto_manifest manifest = MANIFEST_INIT;
	auto_str text = STR_INIT;
	int r;

	target_announce(push->args->local, target);
	r = connect_remote(push->inv, &target->names.items[0], &how, &remote, err);
	if (r == 0)
		r = put_blobs(push, remote, &manifest, err);
	if (r < 0)
		return r;
	manifest_format(&manifest, &text);
	r = put_manifests(target, remote, &text, err);
	if (r == 0 && push->args->populate_cache)
		r = populate(push, target, &text, err);
	return r < 0 ? r : remember(push, target, &text, err);
}

static int push_vm(struct push *push, const struct targets *targets, struct error *err)
{
	int r = parse_labels(&push->args->labels, push->labels, err);

	if (r == 0)
		r = open_vm(push, err);
	for (size_t i = 0; i < targets->len && r == 0; i++)
		r = push_to(push, &targets->items[i], err);
	return r;
}

int push_run(struct invocation *inv, void *data, struct error *err)
{
	const struct push_args *args = data;
	auto_targets targets = VEC_INIT;
	auto_push push = { .inv = inv,
			   .args = args,
			   .vm = VM_INIT,
			   .running = -1,
			   .config = CONFIG_INIT,
			   .config_text = STR_INIT,
			   .nvram = STR_INIT,
			   .network = NETWORK_COPY_INIT,
			   .origin = ORIGIN_INIT,
			   .labels = json_object() };
	int r = targets_parse(&args->remotes, &targets, err);

	if (r < 0)
		return r;
	if (oci_name_is_remote(args->local))
		return retag_cached(inv, args, &targets, err);
	return push_vm(&push, &targets, err);
}
