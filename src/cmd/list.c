/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "cli/help.h"
#include "cli/table.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "store/cache.h"
#include "store/vm.h"

static const char *const sources[] = { "local", "oci", NULL };

struct list_args {
	const char *source;
	int format;
	bool quiet, extra;
};

static const struct option options[] = {
	{ .name = "source",
	  .kind = OPTION_STRING,
	  .choices = sources,
	  .offset = offsetof(struct list_args, source),
	  .help = "Only this source: local (VMs) or oci (cached images)." },
	{ .name = "format",
	  .kind = OPTION_CHOICE,
	  .choices = output_formats,
	  .offset = offsetof(struct list_args, format),
	  .help = "Output format: text (default) or json." },
	{ .name = "quiet",
	  .letter = 'q',
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct list_args, quiet),
	  .help = "Only names, one per line." },
	{ .name = "long",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct list_args, extra),
	  .help = "Also what deleting a VM alone would give back (GB), when it was started, its "
		  "address and MAC." },
	{ 0 },
};

static int validate(struct invocation *inv, void *data, struct error *err)
{
	const struct list_args *args = data;
	auto_str shown = STR_INIT;

	(void)inv;
	if (!args->source || !strcmp(args->source, "local") || !strcmp(args->source, "oci"))
		return 0;
	str_add_printable(&shown, args->source);
	return error_set(err, E_USAGE, "'%s' is not a valid <source>", shown.ptr);
}

struct entry {
	const char *source; /* "local", "OCI" */
	char *name;
	struct vm_sizes sizes;
	time_t accessed;
	enum vm_state state;
	struct vm_extra extra;
};
DEFINE_VEC(entries, struct entry)

static void release_entries(struct entries *list)
{
	for (size_t i = 0; i < list->len; i++)
		free(list->items[i].name);
	entries_release(list);
}

/* What cannot be read is left out. */
static void gather(const struct vm *vm, const char *source, const char *name, bool extra,
		   struct entries *list)
{
	struct error ignored = ERROR_INIT;
	struct entry entry = { .source = source };

	if (vm_sizes(vm, false, &entry.sizes, &ignored) < 0)
		return;
	entry.name = xstrdup(name);
	entry.accessed = vm_accessed(vm);
	entry.state = vm_state(vm);
	if (extra)
		vm_extra_read(vm, &entry.extra);
	entries_add(list, entry);
}

static int gather_local(const struct home *home, const struct list_args *args, struct entries *list,
			struct error *err)
{
	auto_strings names = VEC_INIT;
	int r = home_list_vms(home, &names, err);

	for (size_t i = 0; r == 0 && i < names.len; i++) {
		struct error ignored = ERROR_INIT;
		auto_vm vm = VM_INIT;

		if (args->quiet)
			entries_add(list, (struct entry){ .name = xstrdup(names.items[i]) });
		else if (vm_open(home, names.items[i], /* quiet= */ true, &vm, &ignored) == 0)
			gather(&vm, "local", names.items[i], args->extra, list);
	}
	return r;
}

/* Both the tags and the digests. */
static int gather_images(const struct home *home, const struct list_args *args,
			 struct entries *list, struct error *err)
{
	auto_cache_entries images = { 0 };
	int r = cache_list(home, &images, err);

	for (size_t i = 0; r == 0 && i < images.len; i++) {
		const struct cache_entry *image = &images.items[i];
		auto_str name = STR_INIT;
		auto_vm vm = VM_INIT;

		oci_name_add(&image->name, &name);
		if (args->quiet) {
			entries_add(list, (struct entry){ .name = str_detach(&name) });
			continue;
		}
		vm.path = xstrdup(image->path);
		vm.name = xstrdup(name.ptr);
		vm.dir = open(vm.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (vm.dir >= 0)
			gather(&vm, "OCI", name.ptr, args->extra, list);
	}
	return r;
}

static json_t *to_json(const struct entry *e, bool extra)
{
	json_t *j = json_object();
	auto_str accessed = STR_INIT;

	clock_add_iso8601(&accessed, e->accessed);
	(void)json_object_set_new(j, "Source", json_string(e->source));
	(void)json_object_set_new(j, "Name", json_text(e->name));
	(void)json_object_set_new(j, "Disk",
				  json_integer((json_int_t)(e->sizes.apparent / 1000000000)));
	(void)json_object_set_new(j, "Size",
				  json_integer((json_int_t)(e->sizes.allocated / 1000000000)));
	(void)json_object_set_new(j, "Accessed", json_string(accessed.ptr));
	(void)json_object_set_new(j, "Running", json_boolean(e->state == VM_RUNNING));
	(void)json_object_set_new(j, "State", json_string(vm_state_name(e->state)));
	if (extra)
		vm_extra_add_json(&e->extra, j);
	return j;
}

static void add_json(struct str *out, const struct entries *list, bool extra)
{
	auto_json *array = json_array();

	for (size_t i = 0; i < list->len; i++)
		(void)json_array_append_new(array, to_json(&list->items[i], extra));
	json_add_pretty(out, array);
	str_addc(out, '\n');
}

static void add_row(struct table *table, const struct entry *e, bool extra, time_t now)
{
	auto_str accessed = STR_INIT;

	clock_add_relative(&accessed, e->accessed, now);
	table_add(table, e->source);
	table_add(table, e->name);
	table_addf(table, "%" PRIu64, e->sizes.apparent / 1000000000);
	table_addf(table, "%" PRIu64, e->sizes.allocated / 1000000000);
	if (extra)
		vm_extra_add_cells(&e->extra, table);
	table_add(table, accessed.ptr);
	table_add(table, vm_state_name(e->state));
}

static void add_text(struct str *out, const struct entries *list, bool extra)
{
	static const char *const plain[] = {
		"Source", "Name", "Disk", "Size", "Accessed", "State"
	};
	static const char *const full[] = { "Source",  "Name",	  "Disk", "Size",     "Exclusive",
					    "Started", "Address", "MAC",  "Accessed", "State" };
	auto_table table = { 0 };
	time_t now = time(NULL);

	table_init(&table, extra ? full : plain, extra ? array_size(full) : array_size(plain));
	for (size_t i = 0; i < list->len; i++)
		add_row(&table, &list->items[i], extra, now);
	table_format(&table, out);
}

static void add_names(struct str *out, const struct entries *list)
{
	for (size_t i = 0; i < list->len; i++)
		str_addf(out, "%s\n", list->items[i].name);
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct list_args *args = data;
	cleanup_(release_entries) struct entries list = VEC_INIT;
	auto_str out = STR_INIT;
	int r = 0;

	if (!args->source || !strcmp(args->source, "local"))
		r = gather_local(&inv->home, args, &list, err);
	if (r == 0 && (!args->source || !strcmp(args->source, "oci")))
		r = gather_images(&inv->home, args, &list, err);
	if (r < 0)
		return r;
	if (args->quiet)
		add_names(&out, &list);
	else if (args->format == FORMAT_JSON)
		add_json(&out, &list, args->extra);
	else
		add_text(&out, &list, args->extra);
	return output_text(&out, err);
}

const struct command command_list = {
	.name = "list",
	.summary = "List VMs and cached images",
	.options = options,
	.args_size = sizeof(struct list_args),
	.validate = validate,
	.run = run,
};
