/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/str.h"
#include "cli/table.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "cmd/resources.h"
#include "cmd/vetu.h"
#include "machine/compressed.h"
#include "machine/convert.h"
#include "machine/engine.h"
#include "store/vm.h"

enum { DISK_SIZE_DEFAULT = 50 };
static const uint64_t gigabyte = 1000 * 1000 * 1000;

enum disk_format { DISK_RAW, DISK_ASIF };
static const char *const disk_formats[] = { "raw", "asif", NULL };

struct create_args {
	const char *name;
	const char *from_ipsw;
	const char *from_image;
	bool linux_guest;
	bool no_clobber;
	struct optional_number disk_size, cpu, memory;
	struct vetu_create vetu;
	int disk_format;
};

static const struct option options[] = {
	{ .name = "from-ipsw",
	  .kind = OPTION_STRING,
	  .value = "path",
	  .offset = offsetof(struct create_args, from_ipsw),
	  .help = "Create a macOS VM (needs a Mac: always refused here).",
	  .flags = OPTION_RARE },
	{ .name = "linux",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct create_args, linux_guest),
	  .help = "Create a Linux VM with an empty disk." },
	{ .name = "from-image",
	  .kind = OPTION_STRING,
	  .value = "path",
	  .offset = offsetof(struct create_args, from_image),
	  .help = "Create a Linux VM from a disk image: raw, qcow2, vmdk, vdi, vhdx and what else "
		  "qemu-img reads, also compressed." },
	{ .name = "disk-size",
	  .kind = OPTION_U16,
	  .offset = offsetof(struct create_args, disk_size),
	  .help = "Size of the disk in GB (default: 50, or the image's)." },
	{ .name = "cpu",
	  .kind = OPTION_U16,
	  .offset = offsetof(struct create_args, cpu),
	  .help = "Number of CPUs (default: 4)." },
	{ .name = "memory",
	  .kind = OPTION_U64,
	  .offset = offsetof(struct create_args, memory),
	  .help = "Memory in MiB (default: 4096)." },
	{ .name = "disk-format",
	  .kind = OPTION_CHOICE,
	  .choices = disk_formats,
	  .flags = OPTION_ANY_CASE | OPTION_RARE,
	  .offset = offsetof(struct create_args, disk_format),
	  .help = "Format of the disk (default: raw)." },
	{ .name = "no-clobber",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct create_args, no_clobber),
	  .help = "Fail if a VM of that name exists, instead of replacing it." },
	{ .name = "kernel",
	  .kind = OPTION_STRING,
	  .offset = offsetof(struct create_args, vetu.kernel),
	  .flags = OPTION_PRIVATE,
	  .help = "Refused: a VM boots what is on its disk." },
	{ .name = "initramfs",
	  .kind = OPTION_STRING,
	  .offset = offsetof(struct create_args, vetu.initramfs),
	  .flags = OPTION_PRIVATE,
	  .help = "Refused: a VM boots what is on its disk." },
	{ .name = "cmdline",
	  .kind = OPTION_STRING,
	  .offset = offsetof(struct create_args, vetu.cmdline),
	  .flags = OPTION_PRIVATE,
	  .help = "Refused: a VM boots what is on its disk." },
	{ .name = "disk",
	  .kind = OPTION_STRINGS,
	  .offset = offsetof(struct create_args, vetu.disks),
	  .flags = OPTION_PRIVATE,
	  .help = "As --from-image." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct create_args, name),
	  .help = "Name of the new VM." },
	{ 0 },
};

static int validate(struct invocation *inv, void *data, struct error *err)
{
	struct create_args *args = data;

	(void)inv;
	if (vetu_check_create(&args->vetu, &args->from_image, err) < 0)
		return -err->code;
	if (!args->from_ipsw && !args->linux_guest && !args->from_image)
		return error_set(err, E_USAGE,
				 "Please specify either a --from-ipsw or --linux option!");
	if (args->from_ipsw && config_host_arch() == ARCH_AMD64)
		return error_set(err, E_USAGE, "Only Linux VMs are supported on Intel!");
	if (args->from_ipsw)
		return error_set(err, E_USAGE, "Only Linux VMs are supported on Linux hosts!");
	if (args->disk_format == DISK_ASIF)
		return error_set(err, E_USAGE,
				 "Disk format 'asif' is not supported on this system.");
	return 0;
}

/* The firmware's variable store, which becomes the new VM's nvram.bin. */
static int open_nvram_template(enum config_arch arch, struct error *err)
{
	auto_engine engine = ENGINE_INIT;
	int r = engine_find(arch == ARCH_ARM64 ? PLAN_ARM64 : PLAN_AMD64, &engine, err);

	return r < 0 ? r : fs_open(AT_FDCWD, engine.firmware_vars, O_RDONLY, err);
}

/* What is written of the disk; @arg: its descriptor. */
static void ask_written(void *arg, uint64_t *done, uint64_t *total)
{
	struct stat st;

	*total = 0; /* holes are not written */
	*done = fstat(*(const int *)arg, &st) == 0 ? fs_allocated(&st) : 0;
}

/* A fresh path in tmp/, owned. */
static char *fresh_path(const struct home *home)
{
	char hex[33];

	fs_random_hex(hex, 16);
	return str_format("%s/create-disk-%s", home->tmp, hex);
}

/* If the image is compressed, put in the place of @image a file without a name that is not. */
static int expand(const struct home *home, int *image, struct error *err)
{
	auto_free char *path = NULL;
	auto_fd to = -1;
	int r;

	if (!compressed_detect(*image))
		return 0;
	path = fresh_path(home);
	to = lock_file(AT_FDCWD, path, true, LOCK_WAIT, err);
	if (to < 0)
		return to;
	(void)unlink(path);
	r = compressed_expand(*image, to, UINT16_MAX * gigabyte, err);
	if (r < 0)
		return r;
	(void)close(*image);
	*image = take_fd(&to);
	return 0;
}

/* Convert the image into the file of tmp/ whose flock @lock holds. */
static int convert(const struct home *home, const char *image, int lock, uint64_t *size,
		   struct error *err)
{
	auto_fd from = fs_open(AT_FDCWD, image, O_RDONLY | O_NONBLOCK, err);
	struct waiting waiting;
	struct stat st;
	int r;

	if (from < 0)
		return from;
	if (fstat(from, &st) < 0)
		return error_errno(err, "%s", image);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, E_INVALID, "%s: not a disk image", image);
	waiting_begin(&waiting, "reading the image", ask_written, &lock);
	r = expand(home, &from, err);
	if (r == 0)
		r = convert_to_raw(from, lock, UINT16_MAX * gigabyte, size, err);
	waiting_end(&waiting);
	return r < 0 ? error_wrap(err, "%s", image) : 0;
}

static int too_small(uint64_t wanted, uint64_t image, struct error *err)
{
	auto_str a = STR_INIT;
	auto_str b = STR_INIT;

	size_add(&a, wanted);
	size_add(&b, image);
	return error_set(err, E_FAILED,
			 "new disk size of %s should be larger than the current disk size of %s",
			 a.ptr, b.ptr);
}

static int create_from_image(const struct home *home, const struct create_args *args,
			     struct vm_create *how, struct error *err)
{
	uint64_t size = 0;
	auto_free char *path = fresh_path(home);
	auto_fd lock = lock_file(AT_FDCWD, path, true, LOCK_WAIT, err);

	if (lock < 0)
		return lock;
	int r = convert(home, args->from_image, lock, &size, err);

	if (r >= 0 && args->disk_size.given && how->disk_size < size)
		r = too_small(how->disk_size, size, err);
	if (r >= 0) {
		how->disk_file = path;
		how->disk_size = args->disk_size.given ? how->disk_size : size;
		r = vm_create(home, args->name, how, err);
	}
	(void)unlink(path); /* still there only where something failed */
	return r;
}

/* Called as vetu, a VM has two CPUs. */
static int read_resources(const struct invocation *inv, const struct create_args *args,
			  struct vm_create *how, struct error *err)
{
	int r = 0;

	if (args->cpu.given)
		r = resources_cpus(args->cpu.unsigned_value, RESOURCES_CPUS_MIN, &how->cpus, err);
	else if (vetu_is_name(inv->program))
		how->cpus = VETU_CPUS;
	if (r == 0 && args->memory.given)
		r = resources_memory(args->memory.unsigned_value, RESOURCES_MEMORY_MIN,
				     &how->memory, err);
	return r;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct create_args *args = data;
	struct vm_create how = {
		.arch = config_host_arch(),
		.no_clobber = args->no_clobber,
		.disk_size = (args->disk_size.given ? args->disk_size.unsigned_value
						    : DISK_SIZE_DEFAULT) *
			     gigabyte,
	};
	int r = home_check_name(args->name, err);

	if (r == 0)
		r = read_resources(inv, args, &how, err);
	if (r < 0)
		return r;
	auto_fd nvram = open_nvram_template(how.arch, err);

	if (nvram < 0)
		return nvram;
	how.nvram_template = nvram;
	return args->from_image ? create_from_image(&inv->home, args, &how, err)
				: vm_create(&inv->home, args->name, &how, err);
}

const struct command command_create = {
	.name = "create",
	.summary = "Create a VM",
	.discussion = "A stopped VM of the same name is replaced.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct create_args),
	.validate = validate,
	.run = run,
};
