/* SPDX-License-Identifier: Apache-2.0 */
#include "store/origin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "store/vm.h"

static const char origin_name[] = "origin.json";

/* A manifest's quotes and newlines, escaped. */
enum { ORIGIN_MAX = 2 * MANIFEST_MAX + 64 * 1024, ORIGIN_VERSION = 1 };

static int parse_name(const char *repository, const char *digest, struct oci_name *name,
		      struct error *err)
{
	auto_free char *text = str_format("%s@%s", repository, digest);

	return oci_name_parse(text, name, err);
}

static int parse(const struct str *text, struct origin *origin, struct error *err)
{
	auto_json *object = NULL;
	int64_t version = 0;
	const char *name = "", *digest = "", *manifest = "";
	int r = json_parse_object(text->ptr, text->len, &object, err);

	if (r >= 0)
		r = json_get_int(object, "version", ORIGIN_VERSION, ORIGIN_VERSION, &version, err);
	if (r >= 0)
		r = json_get_string(object, "name", &name, err);
	if (r >= 0)
		r = json_get_string(object, "digest", &digest, err);
	if (r >= 0)
		r = json_get_string(object, "manifest", &manifest, err);
	if (r >= 0)
		r = parse_name(name, digest, &origin->name, err);
	return r < 0 ? r : manifest_parse(manifest, strlen(manifest), &origin->manifest, err);
}

int origin_read(const struct vm *vm, struct origin *origin, struct error *err)
{
	auto_origin read = ORIGIN_INIT;
	auto_str text = STR_INIT;
	struct error ignored = ERROR_INIT;
	int r = fs_read_file(vm->dir, origin_name, ORIGIN_MAX, &text, err);

	if (r == -ENOENT || r == -E_TOO_BIG)
		return 0;
	if (r < 0)
		return error_wrap(err, "VM \"%s\"", vm->name);
	if (parse(&text, &read, &ignored) < 0)
		return 0;
	*origin = read;
	read = (struct origin)ORIGIN_INIT;
	return 1;
}

int origin_write(const struct vm *vm, const struct oci_name *name, const void *manifest, size_t len,
		 struct error *err)
{
	auto_str repository = STR_INIT;
	auto_str text = STR_INIT;
	auto_json *object = json_object();
	json_t *quoted = json_stringn(manifest, len);

	if (!quoted)
		return error_set(err, E_INVALID, "the manifest is not UTF-8");
	oci_name_add_repository(name, &repository);
	(void)json_object_set_new(object, "version", json_integer(ORIGIN_VERSION));
	(void)json_object_set_new(object, "name", json_string(repository.ptr));
	(void)json_object_set_new(object, "digest", json_string(name->digest));
	(void)json_object_set_new(object, "manifest", quoted);
	json_add_compact(&text, object);
	return fs_replace_file(vm->dir, origin_name, text.ptr, text.len, 0600, err);
}

void origin_release(struct origin *origin)
{
	oci_name_release(&origin->name);
	manifest_release(&origin->manifest);
}
