/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layout_index.h"

#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#define REF_NAME "org.opencontainers.image.ref.name"

json_t *layout_index_new(void)
{
	json_t *index = json_object();

	(void)json_object_set_new(index, "schemaVersion", json_integer(2));
	(void)json_object_set_new(index, "mediaType",
				  json_string("application/vnd.oci.image.index.v1+json"));
	(void)json_object_set_new(index, "manifests", json_array());
	return index;
}

static const json_t *manifests_of(const json_t *index)
{
	return json_object_get(index, "manifests");
}

int layout_index_parse(const void *bytes, size_t len, json_t **index, struct error *err)
{
	auto_json *object = NULL;
	const json_t *manifest;
	size_t i;
	int r;

	if (len > LAYOUT_INDEX_MAX)
		return error_set(err, E_TOO_BIG, "index.json is too big");
	r = json_parse_object(bytes, len, &object, err);
	if (r < 0)
		return error_wrap(err, "index.json");
	if (!json_is_array(manifests_of(object)))
		return error_set(err, E_INVALID, "index.json: 'manifests' is not an array");
	if (json_array_size(manifests_of(object)) > LAYOUT_MANIFESTS_MAX)
		return error_set(err, E_TOO_BIG, "index.json: more than %d manifests",
				 LAYOUT_MANIFESTS_MAX);
	json_array_foreach (manifests_of(object), i, manifest) {
		if (!json_is_object(manifest))
			return error_set(err, E_INVALID, "index.json: a manifest is not an object");
	}
	*index = take(object);
	return 0;
}

/* "" where it has none. */
static const char *name_of(const json_t *manifest)
{
	const json_t *annotations = json_object_get(manifest, "annotations");
	const char *name = json_string_value(json_object_get(annotations, REF_NAME));

	return name ? name : "";
}

static const char *digest_of(const json_t *manifest)
{
	const char *digest = json_string_value(json_object_get(manifest, "digest"));

	return digest ? digest : "";
}

static bool has_digest(const json_t *manifest, const char *digest)
{
	return strcmp(digest_of(manifest), digest) == 0;
}

static bool has_name(const json_t *manifest, const char *name)
{
	return strcmp(name_of(manifest), name) == 0;
}

static bool has_tag(const json_t *manifest, const char *tag)
{
	const char *colon = strrchr(name_of(manifest), ':');

	return colon && strcmp(colon + 1, tag) == 0;
}

/* The only one that fits. Several with one digest are one. Return: 1, 0 or E_INVALID. */
static int find_only(const json_t *index, bool (*fits)(const json_t *, const char *),
		     const char *text, const json_t **found, struct error *err)
{
	const json_t *manifest, *only = NULL;
	size_t i;

	json_array_foreach (manifests_of(index), i, manifest) {
		if (!fits(manifest, text))
			continue;
		if (only && !has_digest(manifest, digest_of(only)))
			return error_set(err, E_INVALID,
					 "index.json: several manifests are called '%.128s'", text);
		only = manifest;
	}
	if (!only)
		return 0;
	*found = only;
	return 1;
}

static int find_manifest(const json_t *index, const char *reference, const json_t **found,
			 struct error *err)
{
	const json_t *only = json_array_get(manifests_of(index), 0);
	int r;

	if (str_starts(reference, "sha256:"))
		return find_only(index, has_digest, reference, found, err);
	r = find_only(index, has_name, reference, found, err);
	if (r == 0)
		r = find_only(index, has_tag, reference, found, err);
	if (r != 0)
		return r;
	if (strcmp(reference, "latest") != 0 || json_array_size(manifests_of(index)) != 1 ||
	    *name_of(only))
		return 0;
	*found = only;
	return 1;
}

int layout_index_find(const json_t *index, const char *reference, struct layout_entry *entry,
		      struct error *err)
{
	const json_t *manifest = NULL;
	struct layout_entry found;
	int64_t size = -1;
	int r = find_manifest(index, reference, &manifest, err);

	if (r <= 0)
		return r;
	r = json_get_int(manifest, "size", 0, INT64_MAX, &size, err);
	if (r < 0)
		return error_wrap(err, "index.json");
	if (size < 0 || digest_parse(digest_of(manifest), &found.digest) < 0)
		return error_set(err, E_INVALID,
				 "index.json: a manifest without size and SHA-256 digest");
	found.size = (uint64_t)size;
	*entry = found;
	return 1;
}

static void remove_name(json_t *manifest)
{
	json_t *annotations = json_object_get(manifest, "annotations");

	(void)json_object_del(annotations, REF_NAME);
	if (!json_object_size(annotations))
		(void)json_object_del(manifest, "annotations");
}

static void set_name(json_t *manifest, const char *name)
{
	json_t *annotations = json_object_get(manifest, "annotations");

	if (!json_is_object(annotations)) {
		annotations = json_object();
		(void)json_object_set_new(manifest, "annotations", annotations);
	}
	(void)json_object_set_new(annotations, REF_NAME, json_string(name));
}

static json_t *add_manifest(json_t *manifests, const char *media_type, const char *digest,
			    uint64_t size)
{
	json_t *manifest = json_object();

	(void)json_object_set_new(manifest, "mediaType", json_string(media_type));
	(void)json_object_set_new(manifest, "digest", json_string(digest));
	(void)json_object_set_new(manifest, "size", json_integer((json_int_t)size));
	(void)json_array_append_new(manifests, manifest);
	return manifest;
}

/* The descriptor of @digest that is to bear @name: one that does, else one that bears none. */
static json_t *find_place(json_t *manifests, const char *digest, const char *name)
{
	json_t *manifest, *unnamed = NULL;
	size_t i;

	json_array_foreach (manifests, i, manifest) {
		if (!has_digest(manifest, digest))
			continue;
		if (!*name || has_name(manifest, name))
			return manifest;
		if (!unnamed && !*name_of(manifest))
			unnamed = manifest;
	}
	return unnamed;
}

void layout_index_set(json_t *index, const char *reference, const char *media_type,
		      const struct layout_entry *entry)
{
	json_t *manifests = json_object_get(index, "manifests");
	const char *name = str_starts(reference, "sha256:") ? "" : reference;
	char digest[DIGEST_TEXT];
	json_t *manifest, *place;
	size_t i;

	digest_format(&entry->digest, digest);
	place = find_place(manifests, digest, name);
	if (!place)
		place = add_manifest(manifests, media_type, digest, entry->size);
	if (!*name)
		return;
	json_array_foreach (manifests, i, manifest) {
		if (manifest != place && has_name(manifest, name))
			remove_name(manifest);
	}
	set_name(place, name);
}
