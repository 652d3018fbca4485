/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "cmd/display.h"
#include "cmd/resources.h"
#include "cmd/set_network.h"
#include "store/chain.h"
#include "store/recovery_partition.h"
#include "store/vm.h"

struct set_args {
	const char *name;
	struct optional_number cpu, memory, disk_size;
	const char *display;
	const char *disk;
	int display_refit; /* -1: not given */
	bool random_mac, random_serial, flatten;
	int recovery_partition; /* enum recovery_partition */
	struct network_options network;
};

static const char *const recovery_choices[] = {
	[RECOVERY_KEEP] = "keep",
	[RECOVERY_DELETE] = "delete",
	[RECOVERY_RELOCATE] = "relocate",
	NULL,
};

enum { REFIT_KEEP = -1 };
static const uint64_t gigabyte = 1000 * 1000 * 1000;

static const struct option options[] = {
	{ .name = "cpu",
	  .kind = OPTION_U16,
	  .offset = offsetof(struct set_args, cpu),
	  .help = "Number of CPUs." },
	{ .name = "memory",
	  .kind = OPTION_U64,
	  .offset = offsetof(struct set_args, memory),
	  .help = "Memory in MiB." },
	{ .name = "display",
	  .kind = OPTION_STRING,
	  .offset = offsetof(struct set_args, display),
	  .help = "Display as WIDTHxHEIGHT, in points (pt) or pixels (px): 1200x800px." },
	{ .name = "display-refit",
	  .kind = OPTION_SWITCH,
	  .offset = offsetof(struct set_args, display_refit),
	  .help = "Fit the display to the window.",
	  .flags = OPTION_RARE },
	{ .name = "random-mac",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct set_args, random_mac),
	  .help = "A new random MAC address." },
	{ .name = "random-serial",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct set_args, random_serial),
	  .help = "A new serial number (macOS only: no effect on Linux guests).",
	  .flags = OPTION_RARE },
	{ .name = "ip",
	  .kind = OPTION_STRING,
	  .value = "address",
	  .offset = offsetof(struct set_args, network.ip),
	  .help = "The address that the VM always has, or auto: any that is free." },
	{ .name = "local",
	  .kind = OPTION_SWITCH,
	  .offset = offsetof(struct set_args, network.local),
	  .help = "May the VM and the host or other VMs speak with each other?" },
	{ .name = "net-filter",
	  .kind = OPTION_STRING,
	  .value = "file",
	  .offset = offsetof(struct set_args, network.filter),
	  .help = "Filter the VM's network by the rules in this file, - is the standard input; "
		  "off: no longer. For a VM that runs see net set.",
	  .flags = OPTION_RARE },
	{ .name = "disk",
	  .kind = OPTION_STRING,
	  .value = "path",
	  .offset = offsetof(struct set_args, disk),
	  .help = "Replace the disk by a copy of this raw image.",
	  .flags = OPTION_RARE },
	{ .name = "disk-size",
	  .kind = OPTION_U16,
	  .offset = offsetof(struct set_args, disk_size),
	  .help = "Grow the disk to this size in GB." },
	{ .name = "flatten",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct set_args, flatten),
	  .help = "Make the disk one raw file again, which shares nothing with clones.",
	  .flags = OPTION_RARE },
	{ .name = "recovery-partition",
	  .kind = OPTION_CHOICE,
	  .choices = recovery_choices,
	  .offset = offsetof(struct set_args, recovery_partition),
	  .help = "What to do with macOS' recovery partition: keep (default), delete or relocate, "
		  "to the end of the disk.",
	  .flags = OPTION_RARE },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct set_args, name),
	  .help = "VM name.",
	  .completes = COMPLETES_VM },
	{ 0 },
};

static void defaults(void *data)
{
	struct set_args *args = data;

	args->display_refit = REFIT_KEEP;
	args->network.local = -1;
}

/* The minimum of the config binds macOS guests only. */
static int apply_cpu(uint64_t cpu, struct config *config, struct error *err)
{
	bool darwin = config->os == OS_DARWIN;

	return resources_cpus(cpu, darwin ? config->cpu_count_min : RESOURCES_CPUS_MIN,
			      &config->cpu_count, err);
}

static int apply_memory(uint64_t mib, struct config *config, struct error *err)
{
	bool darwin = config->os == OS_DARWIN;

	return resources_memory(mib, darwin ? config->memory_min : RESOURCES_MEMORY_MIN,
				&config->memory, err);
}

static int apply(const struct set_args *args, struct config *config, struct error *err)
{
	int r = 0;

	if (args->cpu.given)
		r = apply_cpu(args->cpu.unsigned_value, config, err);
	if (r >= 0 && args->memory.given)
		r = apply_memory(args->memory.unsigned_value, config, err);
	if (r >= 0 && args->display)
		r = display_apply(args->display, config, err);
	if (args->display_refit != REFIT_KEEP)
		config->display_refit = args->display_refit;
	if (args->random_mac)
		config->mac = mac_random();
	return r;
}

static bool changes_config(const struct set_args *args)
{
	return args->cpu.given || args->memory.given || args->display || args->random_mac ||
	       args->display_refit != REFIT_KEEP;
}

static int set_config(const struct vm *vm, const struct set_args *args, struct error *err)
{
	auto_config config = CONFIG_INIT;
	auto_fd lock = vm_lock(vm, err);

	if (lock < 0)
		return lock;
	int r = vm_read_config(vm, &config, err);

	if (r >= 0)
		r = apply(args, &config, err);
	return r < 0 ? r : vm_write_config(vm, &config, err);
}

/* Of each of the three a new disk is written beside the old one. */
static void ask_written(void *arg, uint64_t *done, uint64_t *total)
{
	const struct vm *vm = arg;
	struct stat st;

	*total = 0; /* holes are not written */
	*done = fstatat(vm->dir, CHAIN_NEXT, &st, AT_SYMLINK_NOFOLLOW) == 0 ? fs_allocated(&st) : 0;
}

static int change_disk(const struct vm *vm, const struct set_args *args, struct error *err)
{
	int r = args->disk ? vm_replace_disk(vm, args->disk, err) : 0;

	if (r >= 0 && args->disk_size.given)
		r = vm_resize_disk(vm, args->disk_size.unsigned_value * gigabyte, err);
	if (r >= 0 && args->flatten)
		r = vm_flatten_disk(vm, err);
	if (r >= 0)
		r = vm_recovery_partition(vm, (enum recovery_partition)args->recovery_partition,
					  err);
	return r < 0 ? r : 0;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct set_args *args = data;
	auto_network_change network = NETWORK_CHANGE_INIT;
	auto_vm vm = VM_INIT;
	struct waiting waiting;
	int r = vm_open(&inv->home, args->name, false, &vm, err);

	if (r >= 0)
		r = network_change_prepare(&args->network, &network, err);
	if (r >= 0 && changes_config(args))
		r = set_config(&vm, args, err);
	if (r >= 0)
		r = network_change_apply(&vm, &network, err);
	if (r < 0)
		return r;
	waiting_begin(&waiting, "changing the disk", ask_written, &vm);
	r = change_disk(&vm, args, err);
	waiting_end(&waiting);
	return r;
}

const struct command command_set = {
	.name = "set",
	.summary = "Modify a VM's configuration",
	.discussion = "What is set while the VM runs or is suspended takes effect when it is "
		      "started next, which a resume is not.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct set_args),
	.defaults = defaults,
	.run = run,
};
