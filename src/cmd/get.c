/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/table.h"
#include "cmd/command.h"
#include "cmd/net_shown.h"
#include "cmd/output.h"
#include "net/policy.h"
#include "store/network.h"
#include "store/vm.h"

struct get_args {
	const char *name;
	int format;
	bool extra;
};

static const struct option options[] = {
	{ .name = "format",
	  .kind = OPTION_CHOICE,
	  .choices = output_formats,
	  .offset = offsetof(struct get_args, format),
	  .help = "Output format: text (default) or json." },
	{ .name = "long",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct get_args, extra),
	  .help = "In text, too: what deleting this VM alone would give back (GB), when it was "
		  "started, its address and MAC, its network." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct get_args, name),
	  .help = "VM name.",
	  .completes = COMPLETES_VM },
	{ 0 },
};

struct facts {
	struct config config;
	struct vm_sizes sizes;
	struct str display;
	struct vm_extra extra;
	struct vm_network network;
	bool filtered;
	json_t *shown; /* net_shown_of(), where there is something to say */
	enum vm_state state;
};

/* What `set` fixed of its network; what it is now stands in vm_extra and in `net show`. */
static void add_network(const struct facts *f, json_t *j)
{
	char text[INET_ADDRSTRLEN];
	bool fixed = f->network.fixed.s_addr &&
		     inet_ntop(AF_INET, &f->network.fixed, text, sizeof(text));

	(void)json_object_set_new(j, "IP", fixed ? json_string(text) : json_null());
	(void)json_object_set_new(j, "NetFilter", json_boolean(f->filtered));
	(void)json_object_set_new(j, "NoLocal", json_boolean(f->network.no_local));
	if (f->shown)
		(void)json_object_set(j, "Net", f->shown);
}

static void add_json(struct str *out, const struct facts *f)
{
	auto_json *j = json_object();
	char size[32];

	(void)snprintf(size, sizeof(size), "%.3f", (double)f->sizes.allocated / 1e9);
	(void)json_object_set_new(j, "OS", json_string(config_os_name(f->config.os)));
	(void)json_object_set_new(j, "CPU", json_integer(f->config.cpu_count));
	(void)json_object_set_new(j, "Memory", json_integer((json_int_t)(f->config.memory >> 20)));
	(void)json_object_set_new(j, "Disk",
				  json_integer((json_int_t)(f->sizes.apparent / 1000000000)));
	(void)json_object_set_new(j, "DiskFormat", json_text(f->config.disk_format));
	(void)json_object_set_new(j, "Size", json_string(size));
	(void)json_object_set_new(j, "Display", json_string(f->display.ptr));
	(void)json_object_set_new(j, "Running", json_boolean(f->state == VM_RUNNING));
	(void)json_object_set_new(j, "State", json_string(vm_state_name(f->state)));
	vm_extra_add_json(&f->extra, j);
	add_network(f, j);
	json_add_pretty(out, j);
	str_addc(out, '\n');
}

/* What is new stands before State: callers count columns from both ends. */
static void add_text(struct str *out, const struct facts *f, bool extra)
{
	static const char *const plain[] = { "OS",	   "CPU",  "Memory",  "Disk",
					     "DiskFormat", "Size", "Display", "State" };
	static const char *const full[] = { "OS",	  "CPU",     "Memory",	"Disk",
					    "DiskFormat", "Size",    "Display", "Exclusive",
					    "Started",	  "Address", "MAC",	"State" };
	auto_table table = { 0 };

	table_init(&table, extra ? full : plain, extra ? array_size(full) : array_size(plain));
	table_add(&table, config_os_name(f->config.os));
	table_addf(&table, "%" PRIu32, f->config.cpu_count);
	table_addf(&table, "%" PRIu64, f->config.memory >> 20);
	table_addf(&table, "%" PRIu64, f->sizes.apparent / 1000000000);
	table_add(&table, f->config.disk_format);
	table_addf(&table, "%.3f", (double)f->sizes.allocated / 1e9);
	table_add(&table, f->display.ptr);
	if (extra)
		vm_extra_add_cells(&f->extra, &table);
	table_add(&table, vm_state_name(f->state));
	table_format(&table, out);
	if (!extra || !f->shown)
		return;
	str_addc(out, '\n');
	net_shown_format(f->shown, out);
}

/* A filter with a mistake is an error as a config with one is: with neither the VM runs. */
static int gather_network(const struct vm *vm, struct facts *f, struct error *err)
{
	auto_policy policy = POLICY_INIT;
	int r = vm_network_read(vm, &f->network, err);

	if (r >= 0)
		r = vm_filter_compile(vm, &policy, err);
	f->filtered = r > 0;
	return r < 0 ? r : 0;
}

static int gather(const struct vm *vm, struct facts *f, struct error *err)
{
	int r = vm_read_config(vm, &f->config, err);

	if (r >= 0)
		r = vm_sizes(vm, false, &f->sizes, err);
	if (r >= 0)
		r = gather_network(vm, f, err);
	if (r < 0)
		return r;
	config_add_display(&f->config, &f->display);
	vm_extra_read(vm, &f->extra);
	f->state = vm_state(vm);
	if (f->state == VM_RUNNING || f->filtered || f->network.fixed.s_addr || f->network.no_local)
		f->shown = net_shown_of(vm, f->state == VM_RUNNING, &f->network);
	return 0;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct get_args *args = data;
	auto_vm vm = VM_INIT;
	auto_str out = STR_INIT;
	struct facts facts = { .config = CONFIG_INIT, .display = STR_INIT };
	int r = vm_open(&inv->home, args->name, false, &vm, err);

	if (r >= 0)
		r = gather(&vm, &facts, err);
	if (r >= 0 && args->format == FORMAT_JSON)
		add_json(&out, &facts);
	else if (r >= 0) /* another's text table has that other's columns */
		add_text(&out, &facts, args->extra || command_by_own_name(inv));
	json_decref(facts.shown);
	config_release(&facts.config);
	str_release(&facts.display);
	return r < 0 ? r : output_text(&out, err);
}

const struct command command_get = {
	.name = "get",
	.summary = "Show a VM's configuration",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct get_args),
	.run = run,
};
