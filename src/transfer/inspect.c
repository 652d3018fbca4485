/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/help.h"
#include "cli/table.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "cmd/transfer_args.h"
#include "oci/manifest.h"
#include "store/cache.h"
#include "store/config.h"
#include "transfer/connect.h"
#include "transfer/runners.h"

struct image {
	struct oci_name name; /* as it was asked for */
	char digest[DIGEST_TEXT];
	struct manifest manifest;
	struct config config;
	json_t *labels; /* an object of strings */
	bool cached;
};

static void image_release(struct image *image)
{
	oci_name_release(&image->name);
	manifest_release(&image->manifest);
	config_release(&image->config);
	json_decref(image->labels);
}
#define auto_image cleanup_(image_release) struct image

static int wrong_blob(const struct remote *remote, const struct blob *blob, const char *what,
		      struct error *err)
{
	auto_str place = STR_INIT;

	remote_add_blob_place(remote, blob, &place);
	return error_wrap(err, "%s: the %s", place.ptr, what);
}

static int read_labels(struct remote *remote, struct image *image, struct error *err)
{
	auto_str text = STR_INIT;
	auto_json *object = NULL;
	json_t *labels;
	int r = remote_get_small_blob(remote, &image->manifest.image_config, MANIFEST_CONFIG_MAX,
				      &text, err);

	if (r < 0)
		return r;
	if (json_parse_object(text.ptr, text.len, &object, err) < 0)
		return wrong_blob(remote, &image->manifest.image_config, "image config", err);
	labels = json_object_get(json_object_get(object, "config"), "Labels");
	image->labels = json_is_object(labels) ? json_incref(labels) : json_object();
	return 0;
}

static int read_config(struct remote *remote, struct image *image, struct error *err)
{
	auto_str text = STR_INIT;
	int r = remote_get_small_blob(remote, &image->manifest.vm_config, MANIFEST_CONFIG_MAX,
				      &text, err);

	if (r < 0)
		return r;
	r = config_parse(text.ptr, text.len, &image->config, err);
	return r < 0 ? wrong_blob(remote, &image->manifest.vm_config, "VM config", err) : 0;
}

static json_t *to_json(const struct image *image)
{
	const struct manifest *m = &image->manifest;
	json_t *j = json_object();
	auto_str name = STR_INIT;

	oci_name_add(&image->name, &name);
	(void)json_object_set_new(j, "Name", json_text(name.ptr));
	(void)json_object_set_new(j, "Digest", json_string(image->digest));
	(void)json_object_set_new(j, "OS", json_string(config_os_name(image->config.os)));
	(void)json_object_set_new(j, "Arch", json_string(config_arch_name(image->config.arch)));
	(void)json_object_set_new(j, "DiskFormat", json_text(image->config.disk_format));
	(void)json_object_set_new(j, "Disk", json_integer((json_int_t)m->disk_size));
	(void)json_object_set_new(j, "Compressed",
				  json_integer((json_int_t)manifest_compressed_size(m)));
	(void)json_object_set_new(j, "Slices", json_integer((json_int_t)m->slice_count));
	(void)json_object_set_new(j, "Uploaded",
				  m->upload_time[0] ? json_string(m->upload_time) : json_null());
	(void)json_object_set(j, "Labels", image->labels);
	(void)json_object_set_new(j, "Cached", json_boolean(image->cached));
	(void)json_object_set_new(j, "Stacked", json_boolean(m->overlay_count > 0));
	return j;
}

static void add_line(struct str *out, const char *key, const char *value)
{
	str_addf(out, "%-12s ", key);
	str_add_printable(out, value);
	str_addc(out, '\n');
}

static void add_size_line(struct str *out, const char *key, uint64_t bytes)
{
	str_addf(out, "%-12s ", key);
	size_add(out, bytes);
	str_addf(out, " (%" PRIu64 " bytes)\n", bytes);
}

static void add_labels(struct str *out, const json_t *labels)
{
	const char *key;
	const json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)labels, key, value) {
		if (!json_is_string(value))
			continue;
		str_addf(out, "%-12s ", "Label");
		str_add_printable(out, key);
		str_addc(out, '=');
		str_add_printable(out, json_string_value(value));
		str_addc(out, '\n');
	}
}

static void add_text(struct str *out, const struct image *image)
{
	const struct manifest *m = &image->manifest;
	auto_str name = STR_INIT;

	oci_name_add(&image->name, &name);
	add_line(out, "Name", name.ptr);
	add_line(out, "Digest", image->digest);
	add_line(out, "OS", config_os_name(image->config.os));
	add_line(out, "Arch", config_arch_name(image->config.arch));
	add_line(out, "DiskFormat", image->config.disk_format);
	add_size_line(out, "Disk", m->disk_size);
	add_size_line(out, "Compressed", manifest_compressed_size(m));
	str_addf(out, "%-12s %zu%s\n", "Slices", m->slice_count,
		 m->overlay_count ? ", stacked" : "");
	add_line(out, "Uploaded", m->upload_time);
	add_line(out, "Cached", image->cached ? "yes" : "no");
	add_labels(out, image->labels);
}

static int gather(struct invocation *inv, struct remote *remote, const struct oci_name *name,
		  const struct digest *digest, struct image *image, struct error *err)
{
	auto_oci_name by_digest = OCI_NAME_INIT;
	struct digest found;
	int r;

	digest_format(digest, image->digest);
	oci_name_copy(name, &image->name);
	oci_name_with_digest(name, image->digest, &by_digest);
	r = read_config(remote, image, err);
	if (r == 0)
		r = read_labels(remote, image, err);
	if (r == 0)
		r = cache_find(&inv->home, &by_digest, &found, err);
	image->cached = r > 0;
	return r < 0 ? r : 0;
}

static void format(const struct image *image, int how, struct str *out)
{
	auto_json *j = NULL;

	if (how != FORMAT_JSON) {
		add_text(out, image);
		return;
	}
	j = to_json(image);
	json_add_pretty(out, j);
	str_addc(out, '\n');
}

int inspect_run(struct invocation *inv, void *data, struct error *err)
{
	const struct inspect_args *args = data;
	const struct connect_options how = { .insecure = args->insecure };
	auto_oci_name name = OCI_NAME_INIT;
	auto_remote *remote = NULL;
	auto_image image = { .manifest = MANIFEST_INIT, .config = CONFIG_INIT };
	auto_str manifest = STR_INIT;
	auto_str out = STR_INIT;
	struct digest digest;
	int r = oci_name_parse(args->name, &name, err);

	if (r == 0)
		r = connect_remote(inv, &name, &how, &remote, err);
	if (r == 0)
		r = remote_get_manifest(remote, oci_name_reference(&name), &manifest, &digest, err);
	if (r == 0 && args->manifest)
		return output_text(&manifest, err);
	if (r == 0)
		r = manifest_parse(manifest.ptr, manifest.len, &image.manifest, err);
	if (r == 0)
		r = gather(inv, remote, &name, &digest, &image, err);
	if (r < 0)
		return r;
	format(&image, args->format, &out);
	return output_text(&out, err);
}
