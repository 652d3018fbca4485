/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/reuse.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "oci/manifest.h"
#include "store/cache.h"
#include "store/disk.h"

/*
 * Theory of operation
 * -------------------
 *
 * The contents that the image needs are sorted; the manifest of every other image in the cache is
 * read and its slices looked up among them. What a manifest says of its content is a stranger's
 * word: whoever copies verifies (oci/fetch.c), so several places of one content are kept, of
 * different images where there are.
 */

enum { PLACES_MAX = 4 };

struct needed {
	struct digest content;
	unsigned places;
};

struct gathering {
	struct reuse *reuse;
	struct needed *needed; /* sorted, without repeats */
	size_t count;
};

static int compare_needed(const void *a, const void *b)
{
	const struct needed *x = a, *y = b;

	return digest_compare(&x->content, &y->content);
}

static size_t unique(struct needed *needed, size_t count)
{
	size_t kept = 0;

	qsort(needed, count, sizeof(needed[0]), compare_needed);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || compare_needed(&needed[kept - 1], &needed[i]) != 0)
			needed[kept++] = needed[i];
	return kept;
}

static void add_entry(struct reuse *reuse, const struct disk_slice *slice,
		      const struct reuse_image *image)
{
	if (reuse->count == reuse->cap) {
		reuse->cap = reuse->cap ? reuse->cap * 2 : 64;
		reuse->entries = xrealloc(reuse->entries, reuse->cap, sizeof(reuse->entries[0]));
	}
	reuse->entries[reuse->count++] = (struct fetch_reuse){
		.content = slice->content,
		.length = slice->length,
		.offset = slice->offset,
		.fd = image->disk,
		.blob = slice->blob.digest,
		.decoded = image->decoded,
	};
}

/* Return: how many slices of the image are of use. */
static size_t add_slices(struct gathering *g, const struct manifest *manifest,
			 const struct reuse_image *image)
{
	const struct digest *last = NULL;
	size_t added = 0;

	for (size_t i = 0; i < manifest->disk_slices; i++) {
		const struct disk_slice *slice = &manifest->slices[i];
		const struct needed key = { .content = slice->content };
		struct needed *found;

		if (last && digest_equal(last, &slice->content)) /* such as a run of zeroes */
			continue;
		last = &slice->content;
		found = bsearch(&key, g->needed, g->count, sizeof(key), compare_needed);
		if (!found || found->places == PLACES_MAX)
			continue;
		found->places++;
		add_entry(g->reuse, slice, image);
		added++;
	}
	return added;
}

static int read_manifest(const struct vm *vm, struct manifest *manifest)
{
	struct error ignored = ERROR_INIT;
	auto_str text = STR_INIT;

	if (fs_read_file(vm->dir, "manifest.json", MANIFEST_MAX, &text, &ignored) < 0)
		return -1;
	return manifest_parse(text.ptr, text.len, manifest, &ignored);
}

static void consider(struct gathering *g, const struct home *home, const struct oci_name *name)
{
	struct reuse *reuse = g->reuse;
	struct reuse_image *image = &reuse->images[reuse->image_count];
	auto_manifest manifest = MANIFEST_INIT;
	struct error ignored = ERROR_INIT;

	*image = (struct reuse_image){ .vm = VM_INIT, .disk = -1 };
	if (cache_open(home, name, /* quiet= */ true, &image->vm, &ignored) < 0)
		return;
	if (read_manifest(&image->vm, &manifest) == 0)
		image->disk = disk_open_file(&image->vm, "disk.img", O_RDONLY, &ignored);
	image->decoded = faccessat(image->vm.dir, CACHE_UNVERIFIED, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
	if (image->disk >= 0 && add_slices(g, &manifest, image)) {
		reuse->image_count++;
		return;
	}
	if (image->disk >= 0)
		(void)close(image->disk);
	vm_release(&image->vm);
}

void reuse_gather(struct reuse *reuse, const struct home *home, const struct manifest *manifest)
{
	auto_free struct needed *needed = xcalloc(manifest->slice_count, sizeof(*needed));
	struct gathering g = { .reuse = reuse, .needed = needed };
	auto_cache_entries images = VEC_INIT;
	struct error ignored = ERROR_INIT;

	for (size_t i = 0; i < manifest->slice_count; i++)
		needed[i].content = manifest->slices[i].content;
	g.count = unique(needed, manifest->slice_count);
	if (cache_list(home, &images, &ignored) < 0)
		return;
	for (size_t i = 0; i < images.len && reuse->image_count < REUSE_IMAGES_MAX; i++)
		if (images.items[i].name.digest) /* its tags are the same image */
			consider(&g, home, &images.items[i].name);
	if (reuse->count)
		qsort(reuse->entries, reuse->count, sizeof(reuse->entries[0]), fetch_compare_reuse);
}

void reuse_release(struct reuse *reuse)
{
	for (size_t i = 0; i < reuse->image_count; i++) {
		(void)close(reuse->images[i].disk);
		vm_release(&reuse->images[i].vm);
	}
	free(reuse->entries);
	*reuse = (struct reuse)REUSE_INIT;
}
