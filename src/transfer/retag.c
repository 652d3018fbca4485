/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/retag.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/command.h"
#include "cmd/transfer_args.h"
#include "oci/manifest.h"
#include "oci/parallel.h"
#include "store/cache.h"
#include "transfer/connect.h"
#include "transfer/runners.h"

/*
 * Theory of operation
 * -------------------
 *
 * The manifest goes up byte by byte as it is, so the image keeps its digest. The target's
 * repository must have every blob, or be able to take it over from the source's, which is one
 * question a blob; equal ones (slices of zeroes) are asked for once.
 */

static int compare_blobs(const void *a, const void *b)
{
	const struct blob *x = a, *y = b;

	return digest_compare(&x->digest, &y->digest);
}

/* The blobs that a manifest names, each once. Owned by the caller. */
static struct blob *list_blobs(const struct manifest *manifest, size_t *count)
{
	struct blob *blobs = xcalloc(manifest->slice_count + 3, sizeof(*blobs));
	size_t n = 0, kept = 0;

	blobs[n++] = manifest->image_config;
	blobs[n++] = manifest->vm_config;
	blobs[n++] = manifest->nvram;
	for (size_t i = 0; i < manifest->slice_count; i++)
		blobs[n++] = manifest->slices[i].blob;
	qsort(blobs, n, sizeof(blobs[0]), compare_blobs);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || compare_blobs(&blobs[kept - 1], &blobs[i]) != 0)
			blobs[kept++] = blobs[i];
	*count = kept;
	return blobs;
}

struct taking {
	struct remote *remote;
	const struct oci_name *from;
	const struct oci_name *to;
	const struct blob *blobs;
};

static int take_blob(void *arg, size_t index, const volatile bool *stop, struct error *err)
{
	const struct taking *t = arg;
	const struct blob *blob = &t->blobs[index];
	auto_str from = STR_INIT;
	auto_str to = STR_INIT;
	char digest[DIGEST_TEXT];
	int r = remote_has_blob(t->remote, blob, err);

	(void)stop;
	if (r == 0)
		r = remote_mount_blob(t->remote, blob, t->from, err);
	if (r != 0)
		return r < 0 ? r : 0;
	digest_format(&blob->digest, digest);
	oci_name_add_repository(t->from, &from);
	oci_name_add_repository(t->to, &to);
	return error_set(
		err, E_FAILED,
		"%s has not got blob %s and does not take it over from %s: clone the image "
		"and push the clone",
		to.ptr, digest, from.ptr);
}

static int take_blobs(const struct taking *how, const struct manifest *manifest, struct error *err)
{
	struct taking taking = *how;
	size_t count;
	auto_free struct blob *blobs = list_blobs(manifest, &count);

	taking.blobs = blobs;
	return parallel_run(CONCURRENCY_DEFAULT, count, take_blob, &taking, err);
}

static int wrong_manifest(const struct oci_name *image, struct error *err)
{
	auto_str name = STR_INIT;

	oci_name_add(image, &name);
	return error_wrap(err, "%s: its manifest", name.ptr);
}

/* The manifest @text of an image of @from's repository, under all names of @target. */
static int retag(const struct invocation *inv, const struct oci_name *from, const struct str *text,
		 const struct target *target, bool insecure, struct error *err)
{
	const struct connect_options how = { .insecure = insecure, .write = true };
	const struct oci_name *to = &target->names.items[0];
	auto_manifest manifest = MANIFEST_INIT;
	auto_remote *remote = NULL;
	struct taking taking = { .from = from, .to = to };
	int r = manifest_parse(text->ptr, text->len, &manifest, err);

	if (r < 0) /* it would be put as what it is not */
		return wrong_manifest(from, err);
	r = connect_remote(inv, to, &how, &remote, err);
	taking.remote = remote;
	if (r == 0 && !oci_name_same_repository(from, to))
		r = take_blobs(&taking, &manifest, err);
	for (size_t i = 0; i < target->references.len && r == 0; i++) {
		(void)printf("pushing manifest for %s...\n", target->references.items[i]);
		r = remote_put_manifest(remote, target->references.items[i], OCI_MEDIA_MANIFEST,
					text->ptr, text->len, err);
	}
	return r;
}

static int read_cached_manifest(const struct home *home, const struct oci_name *name,
				struct str *text, struct error *err)
{
	auto_vm image = VM_INIT;
	int r = cache_open(home, name, /* quiet= */ false, &image, err);

	return r < 0 ? r : fs_read_file(image.dir, "manifest.json", MANIFEST_MAX, text, err);
}

int retag_cached(const struct invocation *inv, const struct push_args *args,
		 const struct targets *targets, struct error *err)
{
	auto_oci_name from = OCI_NAME_INIT;
	auto_str text = STR_INIT;
	int r = oci_name_parse(args->local, &from, err);

	if (r == 0)
		r = read_cached_manifest(&inv->home, &from, &text, err);
	for (size_t i = 0; i < targets->len && r == 0; i++) {
		target_announce(args->local, &targets->items[i]);
		r = retag(inv, &from, &text, &targets->items[i], args->insecure, err);
	}
	return r;
}

/* tag: as retag_cached(), from what the registry has. */
int tag_run(struct invocation *inv, void *data, struct error *err)
{
	const struct tag_args *args = data;
	const struct connect_options how = { .insecure = args->insecure };
	auto_targets targets = VEC_INIT;
	auto_oci_name from = OCI_NAME_INIT;
	auto_remote *remote = NULL;
	auto_str text = STR_INIT;
	struct digest digest;
	int r = oci_name_parse(args->source, &from, err);

	if (r == 0)
		r = targets_parse(&args->targets, &targets, err);
	if (r == 0)
		r = connect_remote(inv, &from, &how, &remote, err);
	if (r == 0)
		r = remote_get_manifest(remote, oci_name_reference(&from), &text, &digest, err);
	for (size_t i = 0; i < targets.len && r == 0; i++)
		r = retag(inv, &from, &text, &targets.items[i], args->insecure, err);
	return r;
}
