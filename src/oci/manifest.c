/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation: the text is bounded before jansson sees it (bytes, and what could become a
 * value, because a value takes up to a hundred times its text). Then the layers are walked twice:
 * once to learn how many there are of which type and whether they may stand in this order, once
 * to fill arrays of just that length.
 */
#include "oci/manifest.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/media.h"

/* Of each layer: itself, its annotations; of those and of its members the commas. */
enum { CONTAINERS_MAX = 3 * MANIFEST_SLICES_MAX, COMMAS_MAX = 12 * MANIFEST_SLICES_MAX };

enum kind { KIND_CONFIG, KIND_DISK, KIND_OVERLAY, KIND_NVRAM, KIND_OLD_DISK, KIND_OTHER, KIND_MAX };

static const char *const media_types[] = {
	[KIND_CONFIG] = MEDIA_VM_CONFIG,  [KIND_DISK] = MEDIA_DISK,
	[KIND_OVERLAY] = MEDIA_OVERLAY,	  [KIND_NVRAM] = MEDIA_NVRAM,
	[KIND_OLD_DISK] = MEDIA_OLD_DISK,
};
static_assert(array_size(media_types) == KIND_OTHER, "each kind has its media type");

struct layers {
	const json_t *array;
	size_t count[KIND_MAX];
};

static int check_density(const char *text, size_t len, struct error *err)
{
	size_t containers = 0, commas = 0;

	if (len > MANIFEST_MAX)
		return error_set(err, E_TOO_BIG, "larger than %d bytes", MANIFEST_MAX);
	for (size_t i = 0; i < len; i++) {
		containers += text[i] == '{' || text[i] == '[';
		commas += text[i] == ',';
	}
	if (containers > CONTAINERS_MAX || commas > COMMAS_MAX)
		return error_set(err, E_TOO_BIG, "more than %d layers", MANIFEST_SLICES_MAX);
	return 0;
}

/* A member that must be there. */
static int get_string(const json_t *object, const char *key, const char **value, struct error *err)
{
	int r = json_get_string(object, key, value, err);

	return r == 0 ? error_set(err, E_INVALID, "'%s' is missing", key) : r;
}

static int get_digest(const json_t *object, const char *key, struct digest *digest,
		      struct error *err)
{
	const char *text = NULL;
	int r = get_string(object, key, &text, err);

	if (r < 0)
		return r;
	if (digest_parse(text, digest) < 0)
		return error_set(err, E_INVALID, "'%s' is no SHA-256 digest", key);
	return 1;
}

/* A decimal number in a string. Return: 1, 0 there is none, or error. */
static int get_number(const json_t *object, const char *key, uint64_t max, uint64_t *value,
		      struct error *err)
{
	const char *text = NULL;
	int r = json_get_string(object, key, &text, err);

	if (r <= 0)
		return r;
	r = str_to_u64(text, max, value);
	if (r == -ERANGE)
		return error_set(err, E_TOO_BIG, "'%s' is larger than %llu", key,
				 (unsigned long long)max);
	return r < 0 ? error_set(err, E_INVALID, "'%s' is not a decimal number", key) : 1;
}

static int parse_blob(const json_t *object, uint64_t max, struct blob *blob, struct error *err)
{
	int64_t size = 0;
	int r = get_digest(object, "digest", &blob->digest, err);

	if (r < 0)
		return r;
	r = json_get_int(object, "size", 0, INT64_MAX, &size, err);
	if (r == 0)
		return error_set(err, E_INVALID, "'size' is missing");
	if (r < 0)
		return r;
	if ((uint64_t)size > max)
		return error_set(err, E_TOO_BIG, "'size' is larger than %llu",
				 (unsigned long long)max);
	blob->size = (uint64_t)size;
	return 0;
}

static const char *what_it_is(const char *media_type)
{
	if (strcmp(media_type, "application/vnd.oci.image.index.v1+json") == 0)
		return "an image index";
	if (strcmp(media_type, "application/vnd.docker.distribution.manifest.list.v2+json") == 0)
		return "a Docker manifest list";
	if (strcmp(media_type, "application/vnd.docker.distribution.manifest.v2+json") == 0)
		return "a Docker manifest";
	return NULL;
}

/* Is it a manifest at all? */
static int check_type(const json_t *root, struct error *err)
{
	const char *type = OCI_MEDIA_MANIFEST;
	const char *other;
	int64_t version = 2;
	int r = json_get_string(root, "mediaType", &type, err);

	if (r < 0)
		return r;
	other = what_it_is(type);
	if (!other && !json_object_get(root, "layers") && json_object_get(root, "manifests"))
		other = "an image index";
	if (other)
		return error_set(err, E_INVALID, "it is %s, not the manifest of a VM", other);
	if (strcmp(type, OCI_MEDIA_MANIFEST) != 0)
		return error_set(err, E_INVALID, "it is of the type '%.100s'", type);
	r = json_get_int(root, "schemaVersion", INT64_MIN, INT64_MAX, &version, err);
	if (r >= 0 && version != 2)
		return error_set(err, E_INVALID, "'schemaVersion' is not 2");
	return r < 0 ? r : 0;
}

static void copy_time(struct manifest *m, const char *time)
{
	size_t n = strlen(time);

	for (const char *c = time; *c; c++)
		if (*c < ' ' || *c > '~')
			return;
	if (n < sizeof(m->upload_time))
		memcpy(m->upload_time, time, n + 1);
}

static int parse_annotations(const json_t *root, struct manifest *m, struct error *err)
{
	const json_t *annotations = json_object_get(root, "annotations");
	const char *time = "";
	int r;

	if (!annotations || json_is_null(annotations))
		return 0;
	if (!json_is_object(annotations))
		return error_set(err, E_INVALID, "'annotations' is not an object");
	r = get_number(annotations, ANNOTATION_DISK_SIZE, MANIFEST_DISK_MAX, &m->declared_size,
		       err);
	if (r >= 0)
		r = get_number(annotations, ANNOTATION_BLOCK_SIZE, MANIFEST_DISK_MAX,
			       &m->block_size, err);
	if (r >= 0)
		r = json_get_string(annotations, ANNOTATION_UPLOAD_TIME, &time, err);
	if (r < 0)
		return r;
	copy_time(m, time);
	return 0;
}

static int layer_kind(const json_t *layer, enum kind *kind, struct error *err)
{
	const char *type = NULL;
	int r;

	if (!json_is_object(layer))
		return error_set(err, E_INVALID, "not an object");
	r = get_string(layer, "mediaType", &type, err);
	if (r < 0)
		return r;
	*kind = KIND_CONFIG;
	while (*kind < KIND_OTHER && strcmp(type, media_types[*kind]) != 0)
		(*kind)++;
	return 0;
}

/* config, disk ..., overlay ..., nvram: the kinds' own order. */
static int check_order(const struct layers *layers, struct error *err)
{
	enum kind last = KIND_CONFIG, kind = KIND_OTHER;
	size_t i;
	json_t *layer;

	json_array_foreach (layers->array, i, layer) {
		int r = layer_kind(layer, &kind, err);

		if (r < 0)
			return r;
		if (kind == KIND_OTHER)
			return error_set(err, E_INVALID,
					 "layer %zu of a stacked image is of an unknown type", i);
		if (kind < last || (i == 0 && kind != KIND_CONFIG))
			return error_set(err, E_INVALID,
					 "layer %zu of a stacked image is out of order", i);
		last = kind;
	}
	return 0;
}

static int check_counts(const struct layers *layers, struct error *err)
{
	const size_t *n = layers->count;

	if (n[KIND_OLD_DISK])
		return error_set(err, E_FAILED,
				 "Pulling OCI images with legacy disk media type %s is no longer "
				 "supported, please re-push the image using a current Tart version",
				 MEDIA_OLD_DISK);
	if (n[KIND_CONFIG] != 1)
		return error_set(err, E_INVALID, "%s",
				 n[KIND_CONFIG] ? "more than one VM config" : "no VM config");
	if (n[KIND_NVRAM] != 1)
		return error_set(err, E_INVALID, "%s",
				 n[KIND_NVRAM] ? "more than one NVRAM" : "no NVRAM");
	if (!n[KIND_DISK])
		return error_set(err, E_INVALID, "no disk");
	if (n[KIND_DISK] + n[KIND_OVERLAY] > MANIFEST_SLICES_MAX)
		return error_set(err, E_TOO_BIG, "more than %d layers", MANIFEST_SLICES_MAX);
	return n[KIND_OVERLAY] ? check_order(layers, err) : 0;
}

static int count_layers(const json_t *root, struct layers *layers, struct error *err)
{
	size_t i;
	json_t *layer;

	layers->array = json_object_get(root, "layers");
	if (!json_is_array(layers->array))
		return error_set(err, E_INVALID, "'layers' is not an array");
	json_array_foreach (layers->array, i, layer) {
		enum kind kind = KIND_OTHER;

		if (layer_kind(layer, &kind, err) < 0)
			return error_wrap(err, "layer %zu", i);
		layers->count[kind]++;
	}
	return check_counts(layers, err);
}

/* The annotations of a slice, which it must have. */
static int parse_slice(const json_t *layer, struct disk_slice *slice, struct error *err)
{
	const json_t *annotations = json_object_get(layer, "annotations");
	int r = parse_blob(layer, MANIFEST_DISK_MAX, &slice->blob, err);

	if (r < 0)
		return r;
	if (!slice->blob.size)
		return error_set(err, E_INVALID, "'size' is 0");
	if (!json_is_object(annotations))
		return error_set(err, E_INVALID, "'annotations' is missing");
	r = get_digest(annotations, ANNOTATION_CONTENT, &slice->content, err);
	if (r < 0)
		return r;
	r = get_number(annotations, ANNOTATION_SIZE, MANIFEST_DISK_MAX, &slice->length, err);
	if (r == 0)
		return error_set(err, E_INVALID, "'%s' is missing", ANNOTATION_SIZE);
	if (r > 0 && !slice->length)
		return error_set(err, E_INVALID, "'%s' is 0", ANNOTATION_SIZE);
	return r < 0 ? r : 0;
}

/* Put a slice at the end of its file, which is *size long so far. */
static int append_slice(struct disk_slice *slice, uint64_t *size, struct error *err)
{
	slice->offset = *size;
	if (slice->length > MANIFEST_DISK_MAX - *size)
		return error_set(err, E_TOO_BIG, "the slices are larger than %llu bytes together",
				 (unsigned long long)MANIFEST_DISK_MAX);
	*size += slice->length;
	return 0;
}

/* What the first slice of a stacked image's disk says of the whole file, if anything. */
static int parse_disk_file(const json_t *layer, const struct layers *layers, struct manifest *m,
			   struct error *err)
{
	const json_t *annotations = json_object_get(layer, "annotations");
	uint64_t count = layers->count[KIND_DISK];
	int r = get_number(annotations, ANNOTATION_FILE_CHUNKS, MANIFEST_SLICES_MAX, &count, err);

	if (r < 0)
		return r;
	if (count != layers->count[KIND_DISK])
		return error_set(err, E_INVALID, "'%s' is not the number of the disk's layers",
				 ANNOTATION_FILE_CHUNKS);
	if (!json_object_get(annotations, ANNOTATION_FILE_CONTENT))
		return 0;
	r = get_digest(annotations, ANNOTATION_FILE_CONTENT, &m->disk_file, err);
	m->has_disk_file = r > 0;
	return r;
}

static int add_disk(const json_t *layer, const struct layers *layers, struct manifest *m,
		    struct error *err)
{
	struct disk_slice *slice = &m->slices[m->slice_count];
	int r = parse_slice(layer, slice, err);

	if (r == 0)
		r = append_slice(slice, &m->disk_size, err);
	if (r == 0 && !m->slice_count && layers->count[KIND_OVERLAY])
		r = parse_disk_file(layer, layers, m, err);
	m->slice_count++;
	m->disk_slices++;
	return r;
}

/* The first slice of an overlay: how many there are of it. */
static int begin_overlay(const json_t *layer, size_t left, struct manifest *m, struct error *err)
{
	const json_t *annotations = json_object_get(layer, "annotations");
	struct overlay *overlay;
	uint64_t count = 0;
	int r = get_number(annotations, ANNOTATION_FILE_CHUNKS, left, &count, err);

	if (r < 0)
		return r;
	if (!count)
		return error_set(err, E_INVALID, "'%s' is missing or 0", ANNOTATION_FILE_CHUNKS);
	if (m->overlay_count == MANIFEST_OVERLAYS_MAX)
		return error_set(err, E_TOO_BIG, "more than %d overlays", MANIFEST_OVERLAYS_MAX);
	overlay = &m->overlays[m->overlay_count++];
	overlay->slices = &m->slices[m->slice_count];
	overlay->count = (size_t)count;
	return get_digest(annotations, ANNOTATION_FILE_CONTENT, &overlay->file, err);
}

static int add_overlay(const json_t *layer, const struct layers *layers, struct manifest *m,
		       struct error *err)
{
	size_t done = m->slice_count - m->disk_slices;
	struct disk_slice *slice = &m->slices[m->slice_count];
	struct overlay *overlay = m->overlay_count ? &m->overlays[m->overlay_count - 1] : NULL;
	int r = parse_slice(layer, slice, err);

	if (r == 0 && (!overlay || slice == overlay->slices + overlay->count)) {
		r = begin_overlay(layer, layers->count[KIND_OVERLAY] - done, m, err);
		overlay = &m->overlays[m->overlay_count ? m->overlay_count - 1 : 0];
	}
	if (r >= 0)
		r = append_slice(slice, &overlay->size, err);
	m->slice_count++;
	return r;
}

static int add_layer(const json_t *layer, const struct layers *layers, struct manifest *m,
		     struct error *err)
{
	enum kind kind = KIND_OTHER;
	int r = layer_kind(layer, &kind, err);

	if (r < 0)
		return r;
	switch (kind) {
	case KIND_CONFIG:
		return parse_blob(layer, MANIFEST_CONFIG_MAX, &m->vm_config, err);
	case KIND_DISK:
		return add_disk(layer, layers, m, err);
	case KIND_OVERLAY:
		return add_overlay(layer, layers, m, err);
	case KIND_NVRAM:
		return parse_blob(layer, MANIFEST_SMALL_BLOB_MAX, &m->nvram, err);
	case KIND_OLD_DISK:
	case KIND_OTHER:
	case KIND_MAX:
		break;
	}
	return 0;
}

static int parse_layers(const json_t *root, struct manifest *m, struct error *err)
{
	struct layers layers = { 0 };
	int r = count_layers(root, &layers, err);
	size_t i;
	json_t *layer;

	if (r < 0)
		return r;
	m->slices =
		xcalloc(layers.count[KIND_DISK] + layers.count[KIND_OVERLAY], sizeof(m->slices[0]));
	m->overlays = xcalloc(MANIFEST_OVERLAYS_MAX, sizeof(m->overlays[0]));
	json_array_foreach (layers.array, i, layer)
		if (add_layer(layer, &layers, m, err) < 0)
			return error_wrap(err, "layer %zu", i);
	return 0;
}

static int parse_root(const json_t *root, struct manifest *m, struct error *err)
{
	const json_t *config = json_object_get(root, "config");
	int r = check_type(root, err);

	if (r < 0)
		return r;
	if (!json_is_object(config))
		return error_set(err, E_INVALID, "'config' is not an object");
	if (parse_blob(config, MANIFEST_CONFIG_MAX, &m->image_config, err) < 0)
		return error_wrap(err, "'config'");
	r = parse_annotations(root, m, err);
	return r < 0 ? r : parse_layers(root, m, err);
}

int manifest_parse(const void *bytes, size_t len, struct manifest *manifest, struct error *err)
{
	auto_manifest parsed = MANIFEST_INIT;
	auto_json *root = NULL;
	int r = check_density(bytes, len, err);

	if (r == 0)
		r = json_parse_object(bytes, len, &root, err);
	if (r == 0)
		r = parse_root(root, &parsed, err);
	if (r < 0)
		return r == -E_FAILED ? r : error_wrap(err, "the manifest is not one of a VM");
	*manifest = parsed;
	/* NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores): its cleanup reads it */
	parsed = (struct manifest)MANIFEST_INIT;
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
