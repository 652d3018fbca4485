/* SPDX-License-Identifier: Apache-2.0 */
#include "store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "store/chain.h"
#include "store/vm.h"

enum { CHAIN_VERSION = 1, CHAIN_FILE_MAX = 64 * 1024 };

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

static void format_chain(const struct disk_chain *chain, struct str *out)
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

int disk_write(const struct vm *vm, const struct disk_chain *chain, struct error *err)
{
	auto_str text = STR_INIT;

	if (chain_is_raw(chain) && !chain_is_pending(chain)) {
		if (unlinkat(vm->dir, CHAIN_FILE, 0) < 0 && errno != ENOENT)
			return error_errno(err, "cannot remove '%s'", CHAIN_FILE);
		return fs_sync_dir(vm->dir, ".", err);
	}
	format_chain(chain, &text);
	return fs_replace_file(vm->dir, CHAIN_FILE, text.ptr, text.len, 0600, err);
}

int disk_peek(const struct vm *vm, struct disk_chain *chain, struct error *err)
{
	auto_str text = STR_INIT;
	struct stat st;
	int r = fs_read_file(vm->dir, CHAIN_FILE, CHAIN_FILE_MAX, &text, err);

	if (r == 0) {
		r = disk_parse(text.ptr, text.len, chain, err);
		return r < 0 ? error_wrap(err, "%s of VM \"%s\"", CHAIN_FILE, vm->name) : 0;
	}
	if (r != -ENOENT)
		return error_wrap(err, "VM \"%s\"", vm->name);
	if (fstatat(vm->dir, CHAIN_TOP, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, "%s of VM \"%s\"", CHAIN_TOP, vm->name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, E_INVALID, "%s of VM \"%s\" is not a regular file", CHAIN_TOP,
				 vm->name);
	chain_set_raw(chain, (uint64_t)st.st_size);
	return 0;
}

int disk_read_size(const struct vm *vm, uint64_t *size, struct error *err)
{
	struct disk_chain chain;
	int r = disk_peek(vm, &chain, err);

	if (r == 0)
		*size = chain.size;
	return r;
}

int disk_open_file(const struct vm *vm, const char *name, int flags, struct error *err)
{
	auto_fd fd = openat(vm->dir, name,
			    flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 && errno == ELOOP)
		return error_set(err, E_INVALID, "%s of VM \"%s\" is a symbolic link", name,
				 vm->name);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, "%s of VM \"%s\"", name, vm->name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, E_INVALID, "%s of VM \"%s\" is not a regular file", name,
				 vm->name);
	return take_fd(&fd);
}

static int check_qcow2(int fd, const struct disk_chain *chain, size_t i, struct error *err)
{
	struct qcow2_header header;
	int r = qcow2_read_header(fd, &header, err);

	if (r < 0)
		return r;
	/* a disk only grows, and only its top at that */
	if (i ? header.size > chain->size : header.size != chain->size)
		return error_set(err, E_INVALID, "its virtual size is not what %s says",
				 CHAIN_FILE);
	return 0;
}

static int check_raw(int fd, const struct disk_chain *chain, size_t i, struct error *err)
{
	uint64_t expected = i ? chain->layers[i].length : chain->size;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read");
	if (expected && (uint64_t)st.st_size != expected)
		return error_set(err, E_INVALID, "it has %lld bytes instead of %llu",
				 (long long)st.st_size, (unsigned long long)expected);
	return 0;
}

static int open_layer(const struct vm *vm, const struct disk_chain *chain, size_t i, int flags,
		      struct error *err)
{
	const struct disk_layer *layer = &chain->layers[i];
	auto_fd fd = disk_open_file(vm, layer->file, flags, err);
	int r;

	if (fd == -ENOENT)
		return error_set(err, E_INVALID, "%s of VM \"%s\" is missing", layer->file,
				 vm->name);
	if (fd < 0)
		return fd;
	r = layer->qcow2 ? check_qcow2(fd, chain, i, err) : check_raw(fd, chain, i, err);
	if (r < 0)
		return error_wrap(err, "%s of VM \"%s\"", layer->file, vm->name);
	return take_fd(&fd);
}

int disk_open_layers(const struct vm *vm, const struct disk_chain *chain, bool read_only,
		     int fds[DISK_LAYERS_MAX], struct error *err)
{
	for (size_t i = 0; i < chain->count; i++) {
		int flags = i == 0 && !read_only ? O_RDWR : O_RDONLY;

		fds[i] = open_layer(vm, chain, i, flags, err);
		if (fds[i] >= 0)
			continue;
		for (size_t j = 0; j < i; j++)
			(void)close(fds[j]);
		return fds[i];
	}
	return 0;
}
