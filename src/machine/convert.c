/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The format is decided once, here, from the magic, and given to qemu-img as the
 * driver of an explicit node description ("json:{...}"), so nothing is probed
 * again. Files are named /proc/self/fd/N of descriptors that this process opened:
 * a name inside an image is never followed ("backing": null), and the sandbox could
 * not open it.
 *
 * A foreign image goes through three gates: references in its header are refused
 * before qemu-img runs; `qemu-img info` says the virtual size, which is compared with
 * the limit, and again any reference; `qemu-img check` finds what points outside the file (a
 * download that was cut off would read as zeroes); `qemu-img convert` fills a file of that size.
 */

#include "machine/convert.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "base/vec.h"
#include "machine/image_format.h"
#include "machine/plan.h"
#include "machine/sandbox.h"

enum {
	MEMORY_LIMIT = 2047 * 1024 * 1024, /* bytes; a qcow2's tables are cached, never whole */
	INFO_LIMIT = 1024 * 1024, /* bytes of `qemu-img info` */
	CPU_SECONDS = 60, /* and one for each ... */
	BYTES_PER_CPU_SECOND = 16 * 1024 * 1024, /* ... of the image */
	WAIT_FACTOR = 4, /* wall time to processor time */
};

/* ---- qemu-img in its sandbox ---- */

/* One call: arguments and the files that they name. */
struct call {
	struct strings argv;
	struct sandbox_file files[SANDBOX_FILES_MAX];
	size_t file_count;
	uint64_t file_size; /* up to which its output may grow */
};

static void release_call(struct call *call)
{
	strings_release(&call->argv);
}
#define auto_call cleanup_(release_call) struct call

static void call_begin(struct call *call, const char *verb)
{
	strings_add(&call->argv, "/usr/bin/qemu-img");
	strings_add(&call->argv, verb);
}

/* Hand @fd over; its number in the sandbox. */
static int call_file(struct call *call, int fd, bool write)
{
	call->files[call->file_count] = (struct sandbox_file){ fd, write };
	return SANDBOX_FIRST_FD + (int)call->file_count++;
}

/* A node of @driver on the descriptor @fd of the sandbox. QEMU's locks are not our locks. */
static json_t *node(const char *driver, int fd)
{
	char path[sizeof("/proc/self/fd/") + 12];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return json_pack("{s:s, s:{s:s, s:s, s:s}}", "driver", driver, "file", "driver", "file",
			 "filename", path, "locking", "off");
}

static void add_node(struct call *call, const json_t *description)
{
	auto_str text = STR_INIT;

	str_adds(&text, "json:");
	json_add_compact(&text, description);
	strings_add(&call->argv, text.ptr);
}

/* The reason alone: the first line, without the program and the description of a node. */
static const char *reason(struct str *text)
{
	char *start = text->ptr, *end = strchr(text->ptr, '\n'), *quote;

	if (end)
		*end = '\0';
	if (str_starts(start, "qemu-img: "))
		start += sizeof("qemu-img: ") - 1;
	while ((quote = strstr(start, "}': ")))
		start = quote + 4;
	return *start ? start : "no reason given";
}

static int failed(int status, struct str *errors, struct error *err)
{
	switch (status) {
	case 128 + SIGXFSZ:
		return error_set(err, E_TOO_BIG,
				 "the disk image holds more than its size promises");
	case 128 + SIGXCPU:
	case 128 + SIGKILL:
		return error_set(err, E_TOO_BIG,
				 "the disk image takes too long to read; qemu-img was ended");
	default:
		break;
	}
	if (status >= 128)
		return error_set(err, E_INVALID, "qemu-img was ended by signal %d", status - 128);
	return error_set(err, strstr(errors->ptr, strerror(ENOSPC)) ? ENOSPC : E_INVALID,
			 "cannot read the disk image: %s", reason(errors));
}

/* Run it for an image of @bytes. Return: qemu-img's exit status, or error. */
static int run_status(struct call *call, uint64_t bytes, struct str *out, struct str *errors,
		      struct error *err)
{
	uint64_t seconds = CPU_SECONDS + bytes / BYTES_PER_CPU_SECOND;
	int status;

	strings_take(&call->argv, NULL);
	status = sandbox_run(&(struct sandbox_spec){ .argv = (const char *const *)call->argv.items,
						     .files = call->files,
						     .file_count = call->file_count,
						     .cpu_seconds = seconds,
						     .memory = MEMORY_LIMIT,
						     .file_size = call->file_size,
						     .timeout_ms = seconds * WAIT_FACTOR * 1000 },
			     out, INFO_LIMIT, errors, err);
	if (status == -E_MISSING_TOOL)
		return error_set(err, E_MISSING_TOOL,
				 "qemu-img is missing; install the package qemu-utils");
	return status;
}

static int run(struct call *call, uint64_t bytes, struct str *out, struct error *err)
{
	auto_str errors = STR_INIT;
	int status = run_status(call, bytes, out, &errors, err);

	return status > 0 ? failed(status, &errors, err) : status;
}

/* ---- a foreign image ---- */

int convert_detect(int fd, const char **format, struct error *err)
{
	const struct image_format *found = NULL;
	uint64_t file_size;
	int r = image_format_detect(fd, &found, &file_size, err);

	if (r == 0)
		*format = found->name;
	return r;
}

static json_t *foreign_node(const struct image_format *format, int fd)
{
	json_t *n = node(format->name, fd);

	if (format->has_backing)
		(void)json_object_set_new(n, "backing", json_null());
	return n;
}

/* What `qemu-img info` found in the image must stand in that file alone. */
static int check_info(const struct str *text, uint64_t limit, uint64_t *size, struct error *err)
{
	auto_json *info = NULL;
	int64_t virtual_size = -1;
	int r = json_parse_object(text->ptr, text->len, &info, err);

	if (r == 0)
		r = json_get_int(info, "virtual-size", 0, INT64_MAX, &virtual_size, err);
	if (r < 0)
		return error_wrap(err, "qemu-img info");
	if (json_object_get(info, "backing-filename"))
		return error_set(err, E_INVALID, "the disk image refers to a backing file");
	if (virtual_size < 0)
		return error_set(err, E_INVALID, "qemu-img info gives no size");
	if ((uint64_t)virtual_size > limit)
		return error_set(err, E_TOO_BIG,
				 "the disk image is of %" PRIu64 " bytes, more than %" PRIu64,
				 (uint64_t)virtual_size, limit);
	*size = (uint64_t)virtual_size;
	return 0;
}

static int foreign_size(const struct image_format *format, int from, uint64_t limit, uint64_t *size,
			struct error *err)
{
	auto_call call = { .argv = VEC_INIT };
	auto_str out = STR_INIT;
	auto_json *source = foreign_node(format, call_file(&call, from, false));
	int r;

	call_begin(&call, "info");
	strings_add(&call.argv, "--output=json");
	add_node(&call, source);
	r = run(&call, 0, &out, err);
	return r < 0 ? r : check_info(&out, limit, size, err);
}

/* Its exit status is 2 for what is damaged and 3 for lost space, which harms nobody. */
static int check_foreign(const struct image_format *format, int from, uint64_t size,
			 struct error *err)
{
	enum { DAMAGED = 2, LEAKS = 3 };
	auto_call call = { .argv = VEC_INIT };
	auto_json *source = foreign_node(format, call_file(&call, from, false));
	auto_str errors = STR_INIT;
	int status;

	call_begin(&call, "check");
	add_node(&call, source);
	status = run_status(&call, size, NULL, &errors, err);
	if (status == DAMAGED)
		return error_set(err, E_INVALID,
				 "the disk image is damaged or cut off (see qemu-img check)");
	if (status == LEAKS)
		return 0;
	return status > 0 ? failed(status, &errors, err) : status;
}

/* Fill the empty @to, made @size bytes long, from @source, whose files @call has. */
static int fill_raw(struct call *call, const json_t *source, int to, uint64_t size,
		    struct error *err)
{
	auto_json *target = node("raw", call_file(call, to, true));
	int r;

	if (ftruncate(to, (off_t)size) < 0)
		return error_errno(err, "cannot write the disk");
	call->file_size = size;
	call_begin(call, "convert");
	strings_add(&call->argv, "-n");
	strings_add(&call->argv, "--target-is-zero");
	strings_add(&call->argv, "-O");
	strings_add(&call->argv, "raw");
	add_node(call, source);
	add_node(call, target);
	r = run(call, size, NULL, err);
	if (r == 0 && fsync(to) < 0)
		return error_errno(err, "cannot write the disk");
	return r;
}

/* No one parses a raw image. */
static int copy_raw(int from, int to, uint64_t size, uint64_t limit, struct error *err)
{
	int r;

	if (size > limit)
		return error_set(err, E_TOO_BIG,
				 "the disk image is of %" PRIu64 " bytes, more than %" PRIu64, size,
				 limit);
	r = fs_copy(from, to, err);
	if (r < 0)
		return r;
	return fsync(to) < 0 ? error_errno(err, "cannot write the disk") : 0;
}

int convert_to_raw(int from, int to, uint64_t limit, uint64_t *size, struct error *err)
{
	const struct image_format *format = NULL;
	auto_call call = { .argv = VEC_INIT };
	auto_json *source = NULL;
	uint64_t file_size, virtual_size = 0;
	int r = image_format_detect(from, &format, &file_size, err);

	if (r == 0 && file_size == 0)
		return error_set(err, E_INVALID, "the disk image is empty");
	if (r < 0)
		return r;
	if (format == &image_format_raw) {
		r = copy_raw(from, to, file_size, limit, err);
		if (r == 0)
			*size = file_size;
		return r;
	}
	r = foreign_size(format, from, limit, &virtual_size, err);
	if (r == 0 && format->has_check)
		r = check_foreign(format, from, virtual_size, err);
	if (r < 0)
		return r;
	source = foreign_node(format, call_file(&call, from, false));
	r = fill_raw(&call, source, to, virtual_size, err);
	if (r == 0)
		*size = virtual_size;
	return r;
}

/* ---- our own layers ---- */

/* The node of layers[0] on top of all that are below it. */
static json_t *chain_node(struct call *call, const struct plan_layer *layers, size_t count)
{
	json_t *below = NULL;

	for (size_t i = count; i-- > 0;) {
		json_t *n = node(layers[i].qcow2 ? "qcow2" : "raw",
				 call_file(call, layers[i].fd, false));

		if (layers[i].qcow2)
			(void)json_object_set_new(n, "backing", below ? below : json_null());
		below = n;
	}
	return below;
}

/* A raw layer hides all below it, so it can only be the last. */
static int check_layers(const struct plan_layer *layers, size_t count, struct error *err)
{
	if (count == 0 || count > PLAN_LAYERS_MAX)
		return error_set(err, E_INVALID, "a disk of %zu layers", count);
	for (size_t i = 0; i + 1 < count; i++)
		if (!layers[i].qcow2)
			return error_set(err, E_INVALID, "a raw layer above others");
	return 0;
}

static int layer_size(const struct plan_layer *layer, uint64_t *size, struct error *err)
{
	enum { QCOW2_SIZE_AT = 24 }; /* docs/interop/qcow2.txt */
	uint64_t field = 0;
	struct stat st;
	int r;

	if (!layer->qcow2) {
		if (fstat(layer->fd, &st) < 0)
			return error_errno(err, "cannot read the disk");
		*size = (uint64_t)st.st_size;
		return 0;
	}
	r = fs_pread_all(layer->fd, &field, sizeof(field), QCOW2_SIZE_AT, err);
	*size = be64toh(field);
	if (r == 0 && *size > INT64_MAX)
		return error_set(err, E_INVALID, "a layer is too large");
	return r;
}

int convert_chain_to_raw(const struct plan_layer *layers, size_t count, int to, struct error *err)
{
	auto_call call = { .argv = VEC_INIT };
	auto_json *source = NULL;
	uint64_t size = 0;
	int r = check_layers(layers, count, err);

	if (r == 0)
		r = layer_size(&layers[0], &size, err);
	if (r < 0)
		return r;
	if (!layers[0].qcow2)
		return copy_raw(layers[0].fd, to, size, size, err);
	source = chain_node(&call, layers, count);
	return fill_raw(&call, source, to, size, err);
}

/* A qcow2 holding @size bytes has tables beside them: two refcount and L2 entries a cluster. */
static uint64_t with_tables(uint64_t size)
{
	enum { SLACK = 16 * 1024 * 1024 };

	return size + size / 1024 + SLACK;
}

static int create_qcow2(int to, uint64_t size, struct error *err)
{
	auto_call call = { .argv = VEC_INIT, .file_size = with_tables(size) };

	call_begin(&call, "create");
	strings_add(&call.argv, "-q");
	strings_add(&call.argv, "-f");
	strings_add(&call.argv, "qcow2");
	strings_addf(&call.argv, "/proc/self/fd/%d", call_file(&call, to, true));
	strings_addf(&call.argv, "%" PRIu64, size);
	return run(&call, 0, NULL, err);
}

/*
 * Write what layers[0] itself holds, and nothing that lies below it, to @to over the last layer:
 * with -B, qemu-img leaves out what its source's top layer leaves to its backing file.
 */
static int merge_one(const struct plan_layer *layers, size_t count, int to, uint64_t size,
		     struct error *err)
{
	auto_call call = { .argv = VEC_INIT, .file_size = with_tables(size) };
	auto_json *source = chain_node(&call, layers, count);
	auto_json *target = node("qcow2", call_file(&call, to, true));

	(void)json_object_set_new(target, "backing", chain_node(&call, &layers[count - 1], 1));
	call_begin(&call, "convert");
	strings_add(&call.argv, "-n");
	strings_add(&call.argv, "-B");
	strings_add(&call.argv, "given by the target's description");
	strings_add(&call.argv, "-O");
	strings_add(&call.argv, "qcow2");
	add_node(&call, source);
	add_node(&call, target);
	return run(&call, size, NULL, err);
}

int convert_merge(const struct plan_layer *layers, size_t count, int to, struct error *err)
{
	uint64_t size = 0;
	int r = check_layers(layers, count, err);

	if (r == 0 && count < 2)
		return error_set(err, E_INVALID, "nothing to merge");
	if (r == 0)
		r = layer_size(&layers[0], &size, err);
	if (r == 0)
		r = create_qcow2(to, size, err);
	for (size_t i = count - 1; r == 0 && i-- > 0;)
		r = merge_one(&layers[i], count - i, to, size, err);
	if (r == 0 && fsync(to) < 0)
		return error_errno(err, "cannot write the disk");
	return r;
}
