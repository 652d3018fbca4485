/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "base/vec.h"
#include "cli/help.h"
#include "cli/table.h"
#include "cmd/command.h"
#include "cmd/output.h"
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
	  .help = "Only VMs from this source: local or oci." },
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
	const char *name;
	struct vm_sizes sizes;
	time_t accessed;
	enum vm_state state;
	struct vm_extra extra;
};

/* Return: 1; 0 the VM is gone or cannot be read, and is left out. */
static int gather(const struct home *home, const char *name, bool extra, struct entry *entry)
{
	struct error ignored = ERROR_INIT;
	auto_vm vm = VM_INIT;

	*entry = (struct entry){ .name = name };
	if (vm_open(home, name, true, &vm, &ignored) < 0 ||
	    vm_sizes(&vm, false, &entry->sizes, &ignored) < 0)
		return 0;
	entry->accessed = vm_accessed(&vm);
	entry->state = vm_state(&vm);
	if (extra)
		vm_extra_read(&vm, &entry->extra);
	return 1;
}

static json_t *to_json(const struct entry *e, bool extra)
{
	json_t *j = json_object();
	auto_str accessed = STR_INIT;

	clock_add_iso8601(&accessed, e->accessed);
	(void)json_object_set_new(j, "Source", json_string("local"));
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

static void add_json(struct str *out, const struct home *home, const struct strings *names,
		     bool extra)
{
	auto_json *array = json_array();
	struct entry entry;

	for (size_t i = 0; i < names->len; i++)
		if (gather(home, names->items[i], extra, &entry))
			(void)json_array_append_new(array, to_json(&entry, extra));
	json_add_pretty(out, array);
	str_addc(out, '\n');
}

static void add_row(struct table *table, const struct entry *e, bool extra, time_t now)
{
	auto_str accessed = STR_INIT;

	clock_add_relative(&accessed, e->accessed, now);
	table_add(table, "local");
	table_add(table, e->name);
	table_addf(table, "%" PRIu64, e->sizes.apparent / 1000000000);
	table_addf(table, "%" PRIu64, e->sizes.allocated / 1000000000);
	if (extra)
		vm_extra_add_cells(&e->extra, table);
	table_add(table, accessed.ptr);
	table_add(table, vm_state_name(e->state));
}

static void add_text(struct str *out, const struct home *home, const struct strings *names,
		     bool extra)
{
	static const char *const plain[] = {
		"Source", "Name", "Disk", "Size", "Accessed", "State"
	};
	static const char *const full[] = { "Source",  "Name",	  "Disk", "Size",     "Exclusive",
					    "Started", "Address", "MAC",  "Accessed", "State" };
	auto_table table = { 0 };
	struct entry entry;
	time_t now = time(NULL);

	table_init(&table, extra ? full : plain, extra ? array_size(full) : array_size(plain));
	for (size_t i = 0; i < names->len; i++)
		if (gather(home, names->items[i], extra, &entry))
			add_row(&table, &entry, extra, now);
	table_format(&table, out);
}

static void add_names(struct str *out, const struct strings *names)
{
	for (size_t i = 0; i < names->len; i++)
		str_addf(out, "%s\n", names->items[i]);
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct list_args *args = data;
	auto_strings names = VEC_INIT;
	auto_str out = STR_INIT;
	int r = 0;

	/* no image can be pulled yet, so there is none of source "oci" */
	if (!args->source || !strcmp(args->source, "local"))
		r = home_list_vms(&inv->home, &names, err);
	if (r < 0)
		return r;
	if (args->quiet)
		add_names(&out, &names);
	else if (args->format == FORMAT_JSON)
		add_json(&out, &inv->home, &names, args->extra);
	else
		add_text(&out, &inv->home, &names, args->extra);
	return output_text(&out, err);
}

const struct command command_list = {
	.name = "list",
	.summary = "List VMs",
	.options = options,
	.args_size = sizeof(struct list_args),
	.validate = validate,
	.run = run,
};
