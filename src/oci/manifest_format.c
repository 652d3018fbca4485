/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The texts that a push sends. They are written the way Tart's are: members sorted, nothing
 * between them, '/' as "\/". What goes into a string here holds nothing else that JSON escapes.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "oci/manifest.h"
#include "oci/media.h"

static void add_string(struct str *out, const char *text)
{
	str_addc(out, '"');
	for (; *text; text++) {
		if (*text == '/' || *text == '"' || *text == '\\')
			str_addc(out, '\\');
		str_addc(out, *text);
	}
	str_addc(out, '"');
}

/* A member, the first or a later one. */
static void add_key(struct str *out, const char *key)
{
	if (out->ptr[out->len - 1] != '{')
		str_addc(out, ',');
	add_string(out, key);
	str_addc(out, ':');
}

static void add_text(struct str *out, const char *key, const char *text)
{
	add_key(out, key);
	add_string(out, text);
}

static void add_digest(struct str *out, const char *key, const struct digest *digest)
{
	char text[DIGEST_TEXT];

	digest_format(digest, text);
	add_text(out, key, text);
}

/* A number in a string. */
static void add_number(struct str *out, const char *key, uint64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	add_text(out, key, text);
}

/* The members of a descriptor; the brace is opened by the caller. */
static void add_blob(struct str *out, const struct blob *blob, const char *media_type)
{
	add_digest(out, "digest", &blob->digest);
	add_text(out, "mediaType", media_type);
	add_key(out, "size");
	str_addf(out, "%llu}", (unsigned long long)blob->size);
}

static void add_plain_layer(struct str *out, const struct blob *blob, const char *media_type)
{
	str_adds(out, "{\"annotations\":{}");
	add_blob(out, blob, media_type);
}

/* @file: the digest of the file whose first of @count slices it is, or NULL. */
static void add_slice(struct str *out, const struct disk_slice *slice, const char *media_type,
		      const struct digest *file, size_t count)
{
	str_adds(out, ",{\"annotations\":{");
	if (file) {
		add_number(out, ANNOTATION_FILE_CHUNKS, count);
		add_digest(out, ANNOTATION_FILE_CONTENT, file);
	}
	add_digest(out, ANNOTATION_CONTENT, &slice->content);
	add_number(out, ANNOTATION_SIZE, slice->length);
	str_addc(out, '}');
	add_blob(out, &slice->blob, media_type);
}

static void add_layers(struct str *out, const struct manifest *m)
{
	const struct digest *file = m->overlay_count && m->has_disk_file ? &m->disk_file : NULL;

	add_plain_layer(out, &m->vm_config, MEDIA_VM_CONFIG);
	for (size_t i = 0; i < m->disk_slices; i++)
		add_slice(out, &m->slices[i], MEDIA_DISK, i ? NULL : file, m->disk_slices);
	for (size_t i = 0; i < m->overlay_count; i++) {
		const struct overlay *o = &m->overlays[i];

		for (size_t j = 0; j < o->count; j++)
			add_slice(out, &o->slices[j], MEDIA_OVERLAY, j ? NULL : &o->file, o->count);
	}
	str_addc(out, ',');
	add_plain_layer(out, &m->nvram, MEDIA_NVRAM);
}

void manifest_format(const struct manifest *m, struct str *out)
{
	str_adds(out, "{\"annotations\":{");
	if (m->block_size)
		add_number(out, ANNOTATION_BLOCK_SIZE, m->block_size);
	add_number(out, ANNOTATION_DISK_SIZE, m->declared_size ? m->declared_size : m->disk_size);
	if (*m->upload_time)
		add_text(out, ANNOTATION_UPLOAD_TIME, m->upload_time);
	str_adds(out, "},\"config\":{");
	add_blob(out, &m->image_config, OCI_MEDIA_CONFIG);
	str_adds(out, ",\"layers\":[");
	add_layers(out, m);
	str_addc(out, ']');
	add_text(out, "mediaType", OCI_MEDIA_MANIFEST);
	str_adds(out, ",\"schemaVersion\":2}");
}

static int add_bytes(const char *bytes, size_t n, void *out)
{
	str_add(out, bytes, n);
	return 0;
}

void image_config_format(const char *architecture, const char *os, const char *disk_format,
			 const json_t *labels, struct str *out)
{
	auto_json *all = labels ? json_deep_copy(labels) : json_object();
	auto_json *root = NULL;

	(void)json_object_set_new(all, LABEL_DISK_FORMAT, json_string(disk_format));
	root = json_pack("{s:s, s:{s:O}, s:s}", "architecture", architecture, "config", "Labels",
			 all, "os", os);
	(void)json_dump_callback(root, add_bytes, out,
				 JSON_COMPACT | JSON_SORT_KEYS | JSON_ESCAPE_SLASH);
}
