/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * Every argument is made of fixed text, numbers, names of our own, tags in which nothing is
 * special, and JSON: nothing needs QEMU's escaping. Files are handed over as descriptors and named
 * by fdset, whose number is the descriptor's; sockets and taps by descriptor.
 *
 * The machine types are the unversioned ones: the versioned names
 * differ between distributions. A suspended VM's state depends on them, so it has the name with it.
 */

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"
#include "base/vec.h"
#include "machine/block.h"
#include "machine/display.h"
#include "machine/engine.h"
#include "machine/plan.h"

#define VSOCK_DEVICE "vhost-vsock-pci,id=vsock"

enum { FIRST_FD = 3, NODE_NAME = sizeof("disk4294967295-4294967295") };

struct builder {
	const struct launch_plan *plan;
	struct strings *argv;
	struct process_fd *fds;
	size_t fd_count, fd_max;
	bool fd_overflow;
};

/* Append "@option" and its formatted value, which is short: fixed text and numbers. */
printf_(3, 4) static void add(struct builder *b, const char *option, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < sizeof(text));
	strings_add(b->argv, option);
	strings_add(b->argv, text);
}

/* Give the child our @fd. Return: its number there. */
static int hand_over(struct builder *b, int fd)
{
	int theirs = FIRST_FD + (int)b->fd_count;

	if (b->fd_count == b->fd_max) {
		b->fd_overflow = true;
		return FIRST_FD;
	}
	b->fds[b->fd_count++] = (struct process_fd){ .ours = fd, .theirs = theirs };
	return theirs;
}

/* The same for a file. Return: the number of its fdset. */
static int hand_over_file(struct builder *b, int fd)
{
	int theirs = hand_over(b, fd);

	add(b, "-add-fd", "fd=%d,set=%d", theirs, theirs);
	return theirs;
}

static void add_node(struct builder *b, const struct block_node *node)
{
	auto_json *json = block_node_json(node);
	auto_str text = STR_INIT;

	json_add_compact(&text, json);
	strings_add(b->argv, "-blockdev");
	strings_take(b->argv, str_detach(&text));
}

static void add_engine(struct builder *b)
{
	strings_add(b->argv, "-nodefaults");
	strings_add(b->argv, "-no-user-config");
	add(b, "-sandbox", ENGINE_SANDBOX);
	add(b, "-name", "linzer,debug-threads=on");
	add(b, "-rtc", "base=utc");
	/* only what has a bootindex is tried: no network boot */
	add(b, "-boot", "strict=on,menu=off");
	if (b->plan->incoming) {
		add(b, "-incoming", "defer");
		strings_add(b->argv, "-S");
	}
}

static void add_firmware(struct builder *b)
{
	struct block_node code = { .name = "firmware", .read_only = true };
	struct block_node vars = { .name = "variables" };

	code.fdset = hand_over_file(b, b->plan->firmware_code_fd);
	add_node(b, &code);
	vars.fdset = hand_over_file(b, b->plan->firmware_vars_fd);
	add_node(b, &vars);
	/* OVMF's own network boot would take an address before there is a guest (edk2 2022.02) */
	add(b, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n");
	add(b, "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n");
}

static void add_memory(struct builder *b)
{
	const struct launch_plan *plan = b->plan;

	add(b, "-m", "size=%" PRIu64 "B", plan->memory);
	if (plan->memory_fd >= 0)
		add(b, "-object",
		    "memory-backend-file,id=memory,size=%" PRIu64
		    "B,mem-path=/proc/self/fd/%d,share=on",
		    plan->memory, hand_over(b, plan->memory_fd));
}

static const char *machine_type(const struct launch_plan *plan)
{
	if (plan->machine)
		return plan->machine;
	return plan->arch == PLAN_AMD64 ? "q35" : "virt";
}

static const char *machine_options(const struct launch_plan *plan)
{
	if (plan->arch == PLAN_AMD64)
		return display_has_ps2(plan) ? "vmport=off,smm=off"
					     : "vmport=off,smm=off,i8042=off";
	if (plan->accel == PLAN_KVM)
		return "gic-version=host";
	return plan->nested ? "gic-version=3,virtualization=on" : "gic-version=3";
}

/*
 * KVM: the host's processor. TCG: all that QEMU can emulate, except what breaks or
 * slows guests (docs/decisions/engine.md). arm64: pointer authentication by the architected
 * function is slow, 52-bit addresses break older firmware and kernels. x86:
 * "rep movsb" is emulated byte by byte, so its fast forms are not announced; QEMU 7.2
 * leaves out the CPUID leaf of the address sizes (0x80000008) when svm is off, and then a guest
 * with five-level paging cannot start its services.
 */
static const char *cpu_options(const struct launch_plan *plan)
{
	bool kvm = plan->accel == PLAN_KVM;

	if (plan->arch == PLAN_ARM64)
		return kvm ? "host" : "max,pauth-impdef=on,lpa2=off";
	if (plan->nested)
		return kvm ? "host" : "max,la57=off,erms=off,fsrm=off";
	return kvm ? "host,vmx=off,svm=off"
		   : "max,la57=off,erms=off,fsrm=off,svm=off,min-xlevel=0x80000008";
}

static void add_machine(struct builder *b)
{
	const struct launch_plan *plan = b->plan;

	add(b, "-machine",
	    "%s,%s,dump-guest-core=off,mem-merge=off,pflash0=firmware,pflash1=variables%s",
	    machine_type(plan), machine_options(plan),
	    plan->memory_fd >= 0 ? ",memory-backend=memory" : "");
	add(b, "-accel", "%s", plan->accel == PLAN_KVM ? "kvm" : "tcg");
	add(b, "-cpu", "%s", cpu_options(plan));
	add(b, "-smp", "cpus=%" PRIu32 ",sockets=1,cores=%" PRIu32 ",threads=1", plan->cpus,
	    plan->cpus);
}

static void node_name(char name[NODE_NAME], size_t disk, size_t layer)
{
	if (layer)
		(void)snprintf(name, NODE_NAME, "disk%u-%u", (unsigned)disk, (unsigned)layer);
	else
		(void)snprintf(name, NODE_NAME, "disk%u", (unsigned)disk);
}

static void add_layer(struct builder *b, size_t index, size_t layer)
{
	const struct plan_disk *disk = &b->plan->disks[index];
	char name[NODE_NAME], backing[NODE_NAME];
	struct block_node node = {
		.name = name,
		.backing = layer + 1 < disk->layer_count ? backing : NULL,
		.fdset = hand_over_file(b, disk->layers[layer].fd),
		.qcow2 = disk->layers[layer].qcow2,
		.device = disk->layers[layer].device,
		.read_only = layer > 0 || disk->read_only || disk->cdrom,
		.disk = disk,
	};

	node_name(name, index, layer);
	node_name(backing, index, layer + 1);
	add_node(b, &node);
}

/* The certificates are whatever the host trusts: more than QEMU's check of them can take. */
static void add_tls(struct builder *b, const char *id, int dir)
{
	add(b, "-object",
	    "tls-creds-x509,id=%s,endpoint=client,dir=/proc/self/fd/%d,verify-peer=on,"
	    "sanity-check=off",
	    id, dir);
}

static void add_nbd(struct builder *b, size_t index)
{
	const struct plan_disk *disk = &b->plan->disks[index];
	char name[NODE_NAME], tls[sizeof("tls4294967295")];
	struct block_node node = {
		.name = name,
		.fdset = hand_over(b, disk->nbd->dir),
		.read_only = disk->read_only,
		.disk = disk,
		.tls = disk->nbd->tls_name ? tls : NULL,
	};

	node_name(name, index, 0);
	(void)snprintf(tls, sizeof(tls), "tls%u", (unsigned)index);
	if (node.tls)
		add_tls(b, tls, (int)node.fdset);
	add_node(b, &node);
}

static void add_disk(struct builder *b, size_t index)
{
	const struct plan_disk *disk = &b->plan->disks[index];
	unsigned n = (unsigned)index;

	if (disk->nbd)
		add_nbd(b, index);
	/* a node must exist before another names it: bottom first */
	for (size_t layer = disk->layer_count; layer-- > 0;)
		add_layer(b, index, layer);
	if (!disk->cdrom) {
		add(b, "-device", "virtio-blk-pci,id=drive%u,drive=disk%u,bootindex=%u", n, n, n);
		return;
	}
	/* SCSI and not AHCI: the same on every architecture */
	add(b, "-device", "virtio-scsi-pci,id=scsi%u", n);
	add(b, "-device", "scsi-cd,id=drive%u,bus=scsi%u.0,drive=disk%u,bootindex=%u", n, n, n, n);
}

static void add_nic(struct builder *b, size_t index)
{
	const struct plan_nic *nic = &b->plan->nics[index];
	const uint8_t *m = nic->mac;
	unsigned n = (unsigned)index;

	add(b, "-netdev", "tap,id=net%u,fd=%d,vhost=off", n, hand_over(b, nic->tap_fd));
	/* no romfile: no boot code from the network */
	add(b, "-device",
	    "virtio-net-pci,id=nic%u,netdev=net%u,mac=%02x:%02x:%02x:%02x:%02x:%02x,romfile=", n, n,
	    m[0], m[1], m[2], m[3], m[4], m[5]);
}

static void add_channel(struct builder *b, size_t index)
{
	const struct plan_channel *channel = &b->plan->channels[index];
	unsigned n = (unsigned)index;

	if (index == 0)
		add(b, "-device", "virtio-serial-pci,id=channels");
	add(b, "-chardev", "socket,id=channel%u,fd=%d%s", n, hand_over(b, channel->fd),
	    channel->listening ? ",server=on,wait=off" : "");
	add(b, "-device", "virtserialport,bus=channels.0,nr=%u,chardev=channel%u,name=%s", n + 1, n,
	    channel->name);
}

/*
 * In a port of its own, so that it can be unplugged: no state is saved with it plugged. The guest
 * finds the tags in a file (fw_cfg), since before Linux 6.9 no device tells its own.
 */
static void add_folder(struct builder *b, size_t index)
{
	const struct plan_folder *folder = &b->plan->folders[index];
	unsigned n = (unsigned)index;

	add(b, "-device", "pcie-root-port,id=port%u,chassis=%u,slot=%u", n, n + 1, n + 1);
	if (b->plan->incoming)
		return;
	add(b, "-chardev", "socket,id=folder%u,fd=%d", n, hand_over(b, folder->fd));
	add(b, "-device",
	    "vhost-user-fs-pci,id=share%u,bus=port%u,chardev=folder%u,tag=%s,queue-size=1024", n, n,
	    n, folder->tag);
}

static void add_folders(struct builder *b)
{
	auto_str tags = STR_INIT;

	for (size_t i = 0; i < b->plan->folder_count; i++) {
		add_folder(b, i);
		str_addf(&tags, "%s%s", i ? " " : "", b->plan->folders[i].tag);
	}
	if (b->plan->folder_count)
		add(b, "-fw_cfg", "name=opt/org.linzer/shares,string=%s", tags.ptr);
}

/* Last of the devices on the bus: with and without it the others have the same places. */
static void add_vsock(struct builder *b)
{
	if (b->plan->vsock_cid)
		add(b, "-device", VSOCK_DEVICE ",vhostfd=%d,guest-cid=%" PRIu32,
		    hand_over(b, b->plan->vsock_fd), b->plan->vsock_cid);
}

static void add_console_and_monitor(struct builder *b)
{
	add(b, "-chardev", "socket,id=console,fd=%d", hand_over(b, b->plan->console_fd));
	add(b, "-serial", "chardev:console");
	add(b, "-chardev", "socket,id=qmp,fd=%d", hand_over(b, b->plan->qmp_fd));
	add(b, "-mon", "chardev=qmp,mode=control");
}

static void add_devices(struct builder *b)
{
	for (size_t i = 0; i < b->plan->disk_count; i++)
		add_disk(b, i);
	for (size_t i = 0; i < b->plan->nic_count; i++)
		add_nic(b, i);
	for (size_t i = 0; i < b->plan->channel_count; i++)
		add_channel(b, i);
	add_folders(b);
	add(b, "-object", "rng-builtin,id=entropy");
	add(b, "-device", "virtio-rng-pci,rng=entropy");
	display_arguments(b->plan,
			  b->plan->sound == SOUND_PULSE ? hand_over(b, b->plan->sound_fd) : -1,
			  b->argv);
	add_vsock(b);
	add_console_and_monitor(b);
}

enum { CHANNEL_NAME_MAX = 64, TAG_MAX = 36, MACHINE_MAX = 64 };

static bool name_is_plain(const char *name, size_t max)
{
	if (strlen(name) > max)
		return false;
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr(".-_", *c))
			return false;
	return *name != '\0';
}

static int check_disk(const struct plan_disk *disk, struct error *err)
{
	if (disk->nbd && disk->layer_count == 0)
		return 0;
	if (disk->layer_count == 0 || disk->nbd || disk->layer_count > PLAN_LAYERS_MAX)
		return error_set(err, E_INVALID, "a disk of %zu layers cannot be attached",
				 disk->layer_count);
	for (size_t i = 0; i + 1 < disk->layer_count; i++)
		if (!disk->layers[i].qcow2)
			return error_set(err, E_INVALID, "a raw disk layer above another one");
	return 0;
}

static int check_plan(const struct launch_plan *plan, struct error *err)
{
	int r = 0;

	if (plan->disk_count > PLAN_DISKS_MAX || plan->nic_count > PLAN_NICS_MAX ||
	    plan->channel_count > PLAN_CHANNELS_MAX || plan->folder_count > PLAN_FOLDERS_MAX)
		return error_set(err, E_TOO_BIG, "too many devices");
	if (plan->machine &&
	    (!name_is_plain(plan->machine, MACHINE_MAX) ||
	     !str_starts(plan->machine, plan->arch == PLAN_AMD64 ? "pc-q35-" : "virt-")))
		return error_set(err, E_INVALID, "no machine type: '%.64s'", plan->machine);
	if (plan->cpus == 0 || plan->memory == 0)
		return error_set(err, E_INVALID, "a VM needs a CPU and memory");
	if (plan->arch == PLAN_ARM64 && plan->accel == PLAN_KVM && plan->nested)
		return error_set(err, E_FAILED,
				 "nested virtualization is not available on arm64 hosts");
	for (size_t i = 0; r == 0 && i < plan->disk_count; i++)
		r = check_disk(&plan->disks[i], err);
	for (size_t i = 0; r == 0 && i < plan->channel_count; i++)
		if (!name_is_plain(plan->channels[i].name, CHANNEL_NAME_MAX))
			r = error_set(err, E_INVALID, "invalid channel name");
	for (size_t i = 0; r == 0 && i < plan->folder_count; i++)
		if (!name_is_plain(plan->folders[i].tag, TAG_MAX))
			r = error_set(err, E_INVALID, "invalid tag");
	if (r == 0 && plan->folder_count && plan->memory_fd < 0)
		r = error_set(err, E_INVALID, "folders need shared memory");
	return r;
}

int qemu_arguments(const struct launch_plan *plan, const char *program, struct strings *argv,
		   struct process_fd *fds, size_t *fd_count, size_t fd_max, struct error *err)
{
	struct builder b = { .plan = plan, .argv = argv, .fds = fds, .fd_max = fd_max };
	int r = check_plan(plan, err);

	if (r < 0)
		return r;
	strings_add(argv, program);
	add_engine(&b);
	add_firmware(&b);
	add_memory(&b);
	add_machine(&b);
	add_devices(&b);
	if (b.fd_overflow)
		return error_set(err, E_TOO_BIG, "too many files for one VM: at most %zu", fd_max);
	*fd_count = b.fd_count;
	return 0;
}

/* --- what a saved state depends on --- */

static const struct part {
	const char *option, *begin; /* of the value; NULL: any */
	const char *name;
} machine_parts[] = {
	{ "-m", NULL, "memory size" },
	{ "-smp", NULL, "number of CPUs" },
	{ "-cpu", NULL, "processor" },
	{ "-accel", NULL, "accelerator" },
	{ "-machine", NULL, "machine" },
	{ "-fw_cfg", "name=opt/org.linzer/shares", "folders" },
	{ "-device", "pcie-root-port", "folders" },
	{ "-device", "virtio-blk-pci", "disks" },
	{ "-device", "virtio-scsi-pci", "disks" },
	{ "-device", "scsi-cd", "disks" },
	{ "-device", "virtio-net-pci", "network cards" },
	{ "-device", "VGA", "display" },
	{ "-device", "virtio-gpu", "display" },
	{ "-device", VSOCK_DEVICE, "--vsock" },
};

static bool is_part(const char *option, const char *value)
{
	/* plugged in later, see plug.h */
	if (strcmp(option, "-device") == 0)
		return !str_starts(value, "vhost-user-fs-pci") &&
		       !str_ends(value, DISPLAY_CLIPBOARD_NAME);
	for (size_t i = 0; i < array_size(machine_parts); i++)
		if (strcmp(option, machine_parts[i].option) == 0 &&
		    (!machine_parts[i].begin || str_starts(value, machine_parts[i].begin)))
			return true;
	return false;
}

/*
 * Without the machine's type, which is versioned the one time and not the other, and without the
 * numbers of a vsock device: a guest that goes on is told that it has another CID.
 */
static const char *lasting(const char *option, const char *value)
{
	const char *comma = strchr(value, ',');

	if (str_starts(value, VSOCK_DEVICE))
		return VSOCK_DEVICE;
	return strcmp(option, "-machine") == 0 && comma ? comma + 1 : value;
}

void qemu_machine_parts(const struct strings *argv, struct strings *parts)
{
	for (size_t i = 0; i + 1 < argv->len; i++) {
		const char *option = argv->items[i], *value = argv->items[i + 1];

		if (option[0] == '-' && is_part(option, value))
			strings_addf(parts, "%s %s", option, lasting(option, value));
	}
}

const char *qemu_part_name(const char *part)
{
	for (size_t i = 0; i < array_size(machine_parts); i++) {
		size_t len = strlen(machine_parts[i].option);
		const char *begin = machine_parts[i].begin;

		if (strncmp(part, machine_parts[i].option, len) == 0 && part[len] == ' ' &&
		    (!begin || str_starts(part + len + 1, begin)))
			return machine_parts[i].name;
	}
	return "devices";
}
