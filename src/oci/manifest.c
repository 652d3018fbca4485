/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation: a manifest may have tens of thousands of layers and each pull reads those
 * of all cached images, so it is scanned once and no JSON object is made. Each layer's members, in
 * whatever order they come, are gathered in a struct descriptor; then its kind decides what must
 * have been among them. Whether the layers stand in an order in which a stacked image must have
 * them is noted on the way and asked at the end, when it is known whether this is one.
 */
#include "oci/manifest.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/media.h"

enum { TYPE_MAX = 256 }; /* RFC 6838: 127 characters on either side of the slash */

enum kind { KIND_CONFIG, KIND_DISK, KIND_OVERLAY, KIND_NVRAM, KIND_OLD_DISK, KIND_OTHER, KIND_MAX };

static const char *const media_types[] = {
	[KIND_CONFIG] = MEDIA_VM_CONFIG,  [KIND_DISK] = MEDIA_DISK,
	[KIND_OVERLAY] = MEDIA_OVERLAY,	  [KIND_NVRAM] = MEDIA_NVRAM,
	[KIND_OLD_DISK] = MEDIA_OLD_DISK,
};
static_assert(array_size(media_types) == KIND_OTHER, "each kind has its media type");

/* A member that may come once. */
struct text_digest {
	bool seen, valid;
	struct digest value;
};
struct number {
	bool seen;
	uint64_t value;
};

/* What a descriptor says, before anything is asked of it. */
struct descriptor {
	bool has_type, has_annotations, has_size;
	enum kind kind;
	int64_t size;
	struct text_digest digest;
	struct text_digest content, file; /* annotations */
	struct number length, chunks;
};

struct parser {
	struct manifest m;
	size_t slice_room;
	size_t count[KIND_MAX];
	bool seen_config, seen_layers, seen_manifests, seen_annotations, has_type, has_version;
	char type[TYPE_MAX];
	int64_t version;
	struct descriptor first; /* of the disk's slices */
	size_t in_overlay; /* slices of the last overlay so far */
	enum kind last; /* the kind of the layer before */
	bool out_of_order; /* for a stacked image, and the layer with which it began */
	size_t first_out;
};

static int once(bool *seen, const char *key, struct error *err)
{
	if (*seen)
		return error_set(err, E_INVALID, "'%s' stands twice", key);
	*seen = true;
	return 0;
}

static int named(int r, const char *key, struct error *err)
{
	return r < 0 ? error_wrap(err, "'%s'", key) : r;
}

/* A string; one that is too long is as an empty one. */
static int scan_text(struct json_scan *scan, const char *key, char *text, size_t size,
		     struct error *err)
{
	return named(json_scan_string(scan, text, size, err), key, err);
}

static int scan_digest(struct json_scan *scan, const char *key, struct text_digest *digest,
		       struct error *err)
{
	char text[DIGEST_TEXT];
	int r = once(&digest->seen, key, err);

	if (r == 0)
		r = scan_text(scan, key, text, sizeof(text), err);
	if (r < 0)
		return r;
	digest->valid = digest_parse(text, &digest->value) == 0;
	return 0;
}

/* A decimal number in a string. */
static int scan_number(struct json_scan *scan, const char *key, struct number *number,
		       struct error *err)
{
	char text[32];
	int r = once(&number->seen, key, err);

	if (r == 0)
		r = scan_text(scan, key, text, sizeof(text), err);
	if (r < 0)
		return r;
	r = str_to_u64(text, MANIFEST_DISK_MAX, &number->value);
	if (r == -ERANGE)
		return error_set(err, E_TOO_BIG, "'%s' is larger than %llu", key,
				 (unsigned long long)MANIFEST_DISK_MAX);
	return r < 0 ? error_set(err, E_INVALID, "'%s' is not a decimal number", key) : 0;
}

static int layer_annotation(void *arg, struct json_scan *scan, const char *key, struct error *err)
{
	struct descriptor *d = arg;

	if (strcmp(key, ANNOTATION_SIZE) == 0)
		return scan_number(scan, key, &d->length, err);
	if (strcmp(key, ANNOTATION_CONTENT) == 0)
		return scan_digest(scan, key, &d->content, err);
	if (strcmp(key, ANNOTATION_FILE_CONTENT) == 0)
		return scan_digest(scan, key, &d->file, err);
	if (strcmp(key, ANNOTATION_FILE_CHUNKS) == 0)
		return scan_number(scan, key, &d->chunks, err);
	return json_scan_skip(scan, err);
}

/* An object, or null, which is as if there were none. */
static int scan_annotations(struct json_scan *scan, json_member_fn member, void *arg, bool *seen,
			    struct error *err)
{
	int r = once(seen, "annotations", err);

	if (r < 0)
		return r;
	if (json_scan_null(scan)) {
		*seen = false;
		return 0;
	}
	return named(json_scan_object(scan, member, arg, err), "annotations", err);
}

static int scan_type(struct json_scan *scan, struct descriptor *d, struct error *err)
{
	char text[TYPE_MAX];
	int r = once(&d->has_type, "mediaType", err);

	if (r == 0)
		r = scan_text(scan, "mediaType", text, sizeof(text), err);
	d->kind = KIND_CONFIG;
	while (r >= 0 && d->kind < KIND_OTHER && strcmp(text, media_types[d->kind]) != 0)
		d->kind++;
	return r;
}

static int descriptor_member(void *arg, struct json_scan *scan, const char *key, struct error *err)
{
	struct descriptor *d = arg;
	int r;

	if (strcmp(key, "mediaType") == 0)
		return scan_type(scan, d, err);
	if (strcmp(key, "digest") == 0)
		return scan_digest(scan, key, &d->digest, err);
	if (strcmp(key, "annotations") == 0)
		return scan_annotations(scan, layer_annotation, d, &d->has_annotations, err);
	if (strcmp(key, "size") != 0)
		return json_scan_skip(scan, err);
	r = once(&d->has_size, key, err);
	return r < 0 ? r : named(json_scan_integer(scan, &d->size, err), key, err);
}

static int need_digest(const struct text_digest *digest, const char *key, struct digest *value,
		       struct error *err)
{
	if (!digest->seen)
		return error_set(err, E_INVALID, "'%s' is missing", key);
	if (!digest->valid)
		return error_set(err, E_INVALID, "'%s' is no SHA-256 digest", key);
	*value = digest->value;
	return 0;
}

static int need_blob(const struct descriptor *d, uint64_t max, struct blob *blob, struct error *err)
{
	int r = need_digest(&d->digest, "digest", &blob->digest, err);

	if (r < 0)
		return r;
	if (!d->has_size)
		return error_set(err, E_INVALID, "'size' is missing");
	if (d->size < 0)
		return error_set(err, E_INVALID, "'size' is negative");
	if ((uint64_t)d->size > max)
		return error_set(err, E_TOO_BIG, "'size' is larger than %llu",
				 (unsigned long long)max);
	blob->size = (uint64_t)d->size;
	return 0;
}

/* A slice needs both of its annotations. */
static int need_slice(const struct descriptor *d, struct disk_slice *slice, struct error *err)
{
	int r = need_blob(d, MANIFEST_DISK_MAX, &slice->blob, err);

	if (r < 0)
		return r;
	if (!slice->blob.size)
		return error_set(err, E_INVALID, "'size' is 0");
	r = need_digest(&d->content, ANNOTATION_CONTENT, &slice->content, err);
	if (r < 0)
		return r;
	if (!d->length.seen)
		return error_set(err, E_INVALID, "'%s' is missing", ANNOTATION_SIZE);
	if (!d->length.value)
		return error_set(err, E_INVALID, "'%s' is 0", ANNOTATION_SIZE);
	slice->length = d->length.value;
	return 0;
}

/* Add a slice at the end of its file, which is *size long so far. */
static int add_slice(struct parser *p, const struct descriptor *d, uint64_t *size,
		     struct error *err)
{
	struct disk_slice slice;
	int r = need_slice(d, &slice, err);

	if (r < 0)
		return r;
	if (p->m.slice_count == MANIFEST_SLICES_MAX)
		return error_set(err, E_TOO_BIG, "more than %d slices", MANIFEST_SLICES_MAX);
	if (slice.length > MANIFEST_DISK_MAX - *size)
		return error_set(err, E_TOO_BIG, "the slices are larger than %llu bytes together",
				 (unsigned long long)MANIFEST_DISK_MAX);
	slice.offset = *size;
	*size += slice.length;
	if (p->m.slice_count == p->slice_room) {
		p->slice_room = p->slice_room ? p->slice_room * 2 : 64;
		p->m.slices = xrealloc(p->m.slices, p->slice_room, sizeof(slice));
	}
	p->m.slices[p->m.slice_count++] = slice;
	return 0;
}

static int add_disk(struct parser *p, const struct descriptor *d, struct error *err)
{
	if (!p->m.disk_slices++)
		p->first = *d;
	return add_slice(p, d, &p->m.disk_size, err);
}

/* The first slice of an overlay says how many there are of it. */
static int begin_overlay(struct parser *p, const struct descriptor *d, struct error *err)
{
	struct overlay *overlay;

	if (!d->chunks.value || d->chunks.value > MANIFEST_SLICES_MAX)
		return error_set(err, E_INVALID, "'%s' is missing or no possible number",
				 ANNOTATION_FILE_CHUNKS);
	if (p->m.overlay_count == MANIFEST_OVERLAYS_MAX)
		return error_set(err, E_TOO_BIG, "more than %d overlays", MANIFEST_OVERLAYS_MAX);
	if (!p->m.overlays)
		p->m.overlays = xcalloc(MANIFEST_OVERLAYS_MAX, sizeof(p->m.overlays[0]));
	overlay = &p->m.overlays[p->m.overlay_count++];
	overlay->count = (size_t)d->chunks.value;
	p->in_overlay = 0;
	return need_digest(&d->file, ANNOTATION_FILE_CONTENT, &overlay->file, err);
}

static struct overlay *last_overlay(struct parser *p)
{
	return p->m.overlay_count ? &p->m.overlays[p->m.overlay_count - 1] : NULL;
}

static int add_overlay(struct parser *p, const struct descriptor *d, struct error *err)
{
	struct overlay *overlay = last_overlay(p);

	if ((!overlay || p->in_overlay == overlay->count) && begin_overlay(p, d, err) < 0)
		return -err->code;
	p->in_overlay++;
	return add_slice(p, d, &last_overlay(p)->size, err);
}

/* config, disk ..., overlay ..., nvram: the kinds' own order. */
static void note_order(struct parser *p, enum kind kind, size_t index)
{
	if (!p->out_of_order &&
	    (kind == KIND_OTHER || kind < p->last || (index == 0 && kind != KIND_CONFIG))) {
		p->out_of_order = true;
		p->first_out = index;
	}
	p->last = kind;
}

static int old_disk(struct error *err)
{
	return error_set(
		err, E_FAILED,
		"Pulling OCI images with legacy disk media type %s is no longer supported, "
		"please re-push the image using a current Tart version",
		MEDIA_OLD_DISK);
}

static int add_layer(struct parser *p, const struct descriptor *d, struct error *err)
{
	p->count[d->kind]++;
	switch (d->kind) {
	case KIND_CONFIG:
		return need_blob(d, MANIFEST_CONFIG_MAX, &p->m.vm_config, err);
	case KIND_DISK:
		return add_disk(p, d, err);
	case KIND_OVERLAY:
		return add_overlay(p, d, err);
	case KIND_NVRAM:
		return need_blob(d, MANIFEST_SMALL_BLOB_MAX, &p->m.nvram, err);
	case KIND_OLD_DISK:
		return old_disk(err);
	case KIND_OTHER:
	case KIND_MAX:
		break;
	}
	return 0;
}

static int layer(void *arg, struct json_scan *scan, size_t index, struct error *err)
{
	struct parser *p = arg;
	struct descriptor d = { 0 };
	int r = json_scan_object(scan, descriptor_member, &d, err);

	if (r == 0 && !d.has_type)
		r = error_set(err, E_INVALID, "'mediaType' is missing");
	if (r == 0) {
		note_order(p, d.kind, index);
		r = add_layer(p, &d, err);
	}
	return r < 0 && r != -E_FAILED ? error_wrap(err, "layer %zu", index) : r;
}

/* Only to be shown: what is no such time is none. */
static int scan_time(struct json_scan *scan, char time[], size_t size, struct error *err)
{
	int r = scan_text(scan, ANNOTATION_UPLOAD_TIME, time, size, err);

	for (const char *c = time; r > 0 && *c; c++)
		if (*c < ' ' || *c > '~') {
			*time = '\0';
			break;
		}
	return r;
}

static int manifest_annotation(void *arg, struct json_scan *scan, const char *key,
			       struct error *err)
{
	struct parser *p = arg;
	struct number number = { 0 };
	uint64_t *value;
	int r;

	if (strcmp(key, ANNOTATION_UPLOAD_TIME) == 0)
		return scan_time(scan, p->m.upload_time, sizeof(p->m.upload_time), err);
	if (strcmp(key, ANNOTATION_DISK_SIZE) == 0)
		value = &p->m.declared_size;
	else if (strcmp(key, ANNOTATION_BLOCK_SIZE) == 0)
		value = &p->m.block_size;
	else
		return json_scan_skip(scan, err);
	r = scan_number(scan, key, &number, err);
	if (r == 0)
		*value = number.value;
	return r;
}

static int scan_config(struct parser *p, struct json_scan *scan, struct error *err)
{
	struct descriptor d = { 0 };
	int r = once(&p->seen_config, "config", err);

	if (r < 0)
		return r;
	r = json_scan_object(scan, descriptor_member, &d, err);
	if (r == 0)
		r = need_blob(&d, MANIFEST_CONFIG_MAX, &p->m.image_config, err);
	return named(r, "config", err);
}

static int root_member(void *arg, struct json_scan *scan, const char *key, struct error *err)
{
	struct parser *p = arg;
	int r;

	if (strcmp(key, "config") == 0)
		return scan_config(p, scan, err);
	if (strcmp(key, "annotations") == 0)
		return scan_annotations(scan, manifest_annotation, p, &p->seen_annotations, err);
	if (strcmp(key, "layers") == 0) {
		r = once(&p->seen_layers, key, err);
		return r < 0 ? r : json_scan_array(scan, layer, p, err);
	}
	if (strcmp(key, "mediaType") == 0) {
		r = once(&p->has_type, key, err);
		return r < 0 ? r : scan_text(scan, key, p->type, sizeof(p->type), err);
	}
	if (strcmp(key, "schemaVersion") == 0) {
		r = once(&p->has_version, key, err);
		return r < 0 ? r : named(json_scan_integer(scan, &p->version, err), key, err);
	}
	p->seen_manifests = p->seen_manifests || strcmp(key, "manifests") == 0;
	return json_scan_skip(scan, err);
}

static const char *what_it_is(const struct parser *p)
{
	if (strcmp(p->type, "application/vnd.oci.image.index.v1+json") == 0)
		return "an image index";
	if (strcmp(p->type, "application/vnd.docker.distribution.manifest.list.v2+json") == 0)
		return "a Docker manifest list";
	if (strcmp(p->type, "application/vnd.docker.distribution.manifest.v2+json") == 0)
		return "a Docker manifest";
	return p->seen_manifests && !p->seen_layers ? "an image index" : NULL;
}

/* Is it a manifest at all? */
static int check_type(const struct parser *p, struct error *err)
{
	const char *other = what_it_is(p);

	if (other)
		return error_set(err, E_INVALID, "it is %s", other);
	if (p->has_type && strcmp(p->type, OCI_MEDIA_MANIFEST) != 0)
		return error_set(err, E_INVALID, "it is of the type '%.100s'", p->type);
	if (p->has_version && p->version != 2)
		return error_set(err, E_INVALID, "'schemaVersion' is not 2");
	if (!p->seen_config)
		return error_set(err, E_INVALID, "'config' is missing");
	if (!p->seen_layers)
		return error_set(err, E_INVALID, "'layers' is missing");
	return 0;
}

static int check_counts(const struct parser *p, struct error *err)
{
	const size_t *n = p->count;

	if (n[KIND_CONFIG] != 1)
		return error_set(err, E_INVALID, "%s",
				 n[KIND_CONFIG] ? "more than one VM config" : "no VM config");
	if (n[KIND_NVRAM] != 1)
		return error_set(err, E_INVALID, "%s",
				 n[KIND_NVRAM] ? "more than one NVRAM" : "no NVRAM");
	return n[KIND_DISK] ? 0 : error_set(err, E_INVALID, "no disk");
}

/* What only later Tarts know, and are strict about. */
static int check_stacked(struct parser *p, struct error *err)
{
	const struct descriptor *first = &p->first;

	if (p->out_of_order)
		return error_set(
			err, E_INVALID,
			"layer %zu of a stacked image is of an unknown type or out of order",
			p->first_out);
	if (p->in_overlay < last_overlay(p)->count)
		return error_set(err, E_INVALID, "'%s' is more than there are",
				 ANNOTATION_FILE_CHUNKS);
	if (first->chunks.seen && first->chunks.value != p->m.disk_slices)
		return error_set(err, E_INVALID, "'%s' is not the number of the disk's slices",
				 ANNOTATION_FILE_CHUNKS);
	p->m.has_disk_file = first->file.seen;
	return first->file.seen
		       ? need_digest(&first->file, ANNOTATION_FILE_CONTENT, &p->m.disk_file, err)
		       : 0;
}

/* The array has its place now. */
static void share_slices(struct manifest *m)
{
	struct disk_slice *at = m->slices + m->disk_slices;

	for (size_t i = 0; i < m->overlay_count; i++) {
		m->overlays[i].slices = at;
		at += m->overlays[i].count;
	}
}

static int parse(struct parser *p, const void *bytes, size_t len, struct error *err)
{
	struct json_scan scan;
	int r;

	if (len > MANIFEST_MAX)
		return error_set(err, E_TOO_BIG, "larger than %d bytes", MANIFEST_MAX);
	json_scan_begin(&scan, bytes, len);
	r = json_scan_object(&scan, root_member, p, err);
	if (r == 0)
		r = json_scan_end(&scan, err);
	if (r == 0)
		r = check_type(p, err);
	if (r == 0)
		r = check_counts(p, err);
	return r < 0 || !p->m.overlay_count ? r : check_stacked(p, err);
}

int manifest_parse(const void *bytes, size_t len, struct manifest *manifest, struct error *err)
{
	struct parser parser = { 0 };
	int r = parse(&parser, bytes, len, err);

	if (r < 0) {
		manifest_release(&parser.m);
		return r == -E_FAILED ? r : error_wrap(err, "the manifest is not one of a VM");
	}
	share_slices(&parser.m);
	*manifest = parser.m;
	return 0;
}

void manifest_release(struct manifest *manifest)
{
	free(manifest->slices);
	free(manifest->overlays);
	*manifest = (struct manifest)MANIFEST_INIT;
}

uint64_t manifest_compressed_size(const struct manifest *manifest)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < manifest->slice_count; i++)
		sum += manifest->slices[i].blob.size; /* 2^16 of at most 2^46 */
	return sum;
}
