/* SPDX-License-Identifier: Apache-2.0 */

/* disk.json's text, and what may stand in it. */

#include "store/chain.h"

#include <string.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"

enum { CHAIN_VERSION = 1 };

bool chain_is_layer_name(const char *name)
{
	return strlen(name) == DISK_NAME - 1 && str_starts(name, CHAIN_LAYER_PREFIX) &&
	       strspn(name + strlen(CHAIN_LAYER_PREFIX), "0123456789abcdef") == 32;
}

void chain_new_layer_name(char name[DISK_NAME])
{
	memcpy(name, CHAIN_LAYER_PREFIX, sizeof(CHAIN_LAYER_PREFIX));
	fs_random_hex(name + strlen(CHAIN_LAYER_PREFIX), 16);
}

bool chain_is_raw(const struct disk_chain *chain)
{
	return chain->count == 1 && !chain->layers[0].qcow2;
}

bool chain_is_pending(const struct disk_chain *chain)
{
	return strcmp(chain->layers[0].file, CHAIN_NEXT) == 0;
}

void chain_set_raw(struct disk_chain *chain, uint64_t size)
{
	*chain = (struct disk_chain){ .size = size, .count = 1 };
	memcpy(chain->layers[0].file, CHAIN_TOP, sizeof(CHAIN_TOP));
}

bool chain_names(const struct disk_chain *chain, const char *file)
{
	for (size_t i = 0; i < chain->count; i++)
		if (strcmp(chain->layers[i].file, file) == 0)
			return true;
	return false;
}

static int parse_layer(const json_t *object, struct disk_layer *layer, struct error *err)
{
	const char *file = "", *format = "";
	int64_t length = 0;
	int r;

	if (!json_is_object(object))
		return error_set(err, E_INVALID, "a layer is not an object");
	r = json_get_string(object, "file", &file, err);
	if (r >= 0)
		r = json_get_string(object, "format", &format, err);
	if (r >= 0)
		r = json_get_int(object, "length", 0, INT64_MAX, &length, err);
	if (r < 0)
		return r;
	if (strlen(file) >= sizeof(layer->file))
		return error_set(err, E_INVALID, "'%.64s' is not the name of a layer", file);
	if (strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0)
		return error_set(err, E_INVALID, "unknown format '%.64s'", format);
	memcpy(layer->file, file, strlen(file) + 1);
	layer->qcow2 = strcmp(format, "qcow2") == 0;
	layer->length = (uint64_t)length;
	return 0;
}

/* Does layer @i bear a name and a format that are possible in its place? */
static int check_layer(const struct disk_chain *chain, size_t i, struct error *err)
{
	const struct disk_layer *layer = &chain->layers[i];
	struct disk_chain above = { .count = i };
	bool good = i ? chain_is_layer_name(layer->file)
		      : strcmp(layer->file, CHAIN_TOP) == 0 ||
				    (chain_is_pending(chain) && chain_is_raw(chain));

	memcpy(above.layers, chain->layers, i * sizeof(above.layers[0]));
	if (!good || chain_names(&above, layer->file))
		return error_set(err, E_INVALID, "'%s' is not the name of a layer", layer->file);
	if (!layer->qcow2 && i + 1 != chain->count)
		return error_set(err, E_INVALID, "'%s' is raw but not the last", layer->file);
	return 0;
}

static int parse_layers(const json_t *layers, struct disk_chain *chain, struct error *err)
{
	size_t count = json_array_size(layers);

	if (count == 0 || count > DISK_LAYERS_MAX)
		return error_set(err, E_INVALID, "it names %zu layers", count);
	chain->count = count;
	for (size_t i = 0; i < count; i++) {
		int r = parse_layer(json_array_get(layers, i), &chain->layers[i], err);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < count; i++) {
		int r = check_layer(chain, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int disk_parse(const void *bytes, size_t len, struct disk_chain *chain, struct error *err)
{
	auto_json *object = NULL;
	struct disk_chain parsed = { 0 };
	int64_t version = 0, size = -1;
	int r = json_parse_object(bytes, len, &object, err);

	if (r >= 0)
		r = json_get_int(object, "version", CHAIN_VERSION, CHAIN_VERSION, &version, err);
	if (r >= 0)
		r = json_get_int(object, "size", 0, (int64_t)QCOW2_SIZE_MAX, &size, err);
	if (r < 0)
		return r;
	if (version != CHAIN_VERSION || size < 0)
		return error_set(err, E_INVALID, "'version' or 'size' is missing");
	parsed.size = (uint64_t)size;
	r = parse_layers(json_object_get(object, "layers"), &parsed, err);
	if (r < 0)
		return r;
	*chain = parsed;
	return 0;
}

void chain_format(const struct disk_chain *chain, struct str *out)
{
	auto_json *object = json_object();
	json_t *layers = json_array();

	(void)json_object_set_new(object, "version", json_integer(CHAIN_VERSION));
	(void)json_object_set_new(object, "size", json_integer((json_int_t)chain->size));
	(void)json_object_set_new(object, "layers", layers);
	for (size_t i = 0; i < chain->count; i++) {
		const struct disk_layer *layer = &chain->layers[i];
		json_t *entry = json_object();

		(void)json_object_set_new(entry, "file", json_string(layer->file));
		(void)json_object_set_new(entry, "format",
					  json_string(layer->qcow2 ? "qcow2" : "raw"));
		if (layer->length)
			(void)json_object_set_new(entry, "length",
						  json_integer((json_int_t)layer->length));
		(void)json_array_append_new(layers, entry);
	}
	json_add_pretty(out, object);
}
