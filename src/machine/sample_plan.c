/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/sample_plan.h"

enum { MIB = 1024 * 1024 };

static void fill_raw(struct launch_plan *plan)
{
	*plan = (struct launch_plan){
		.arch = PLAN_AMD64,
		.accel = PLAN_TCG,
		.cpus = 2,
		.memory = 256 * MIB,
		.firmware_code_fd = 100,
		.firmware_vars_fd = 101,
		.memory_fd = -1,
		.disks = { { .layers = { { .fd = 110, .qcow2 = false } }, .layer_count = 1 } },
		.disk_count = 1,
		.qmp_fd = 102,
		.console_fd = 103,
		.width = 1024,
		.height = 768,
	};
}

static void fill_chain(struct launch_plan *plan)
{
	fill_raw(plan);
	plan->disks[0] = (struct plan_disk){
		.layers = { { .fd = 110, .qcow2 = true },
			    { .fd = 111, .qcow2 = true },
			    { .fd = 112, .qcow2 = false } },
		.layer_count = 3,
	};
}

static void fill_nested(struct launch_plan *plan)
{
	fill_raw(plan);
	plan->nested = true;
}

static void fill_kvm(struct launch_plan *plan)
{
	fill_raw(plan);
	plan->accel = PLAN_KVM;
}

static void fill_kvm_nested(struct launch_plan *plan)
{
	fill_kvm(plan);
	plan->nested = true;
}

static void fill_arm64(struct launch_plan *plan)
{
	fill_chain(plan);
	plan->arch = PLAN_ARM64;
}

static void fill_arm64_kvm(struct launch_plan *plan)
{
	fill_arm64(plan);
	plan->accel = PLAN_KVM;
}

static void fill_devices(struct launch_plan *plan)
{
	fill_raw(plan);
	plan->memory_fd = 104;
	plan->nics[0] =
		(struct plan_nic){ .tap_fd = 120, .mac = { 0x02, 0x00, 0x5e, 0x0a, 0xff, 0x01 } };
	plan->nics[1] =
		(struct plan_nic){ .tap_fd = 121, .mac = { 0x02, 0x00, 0x5e, 0x0a, 0xff, 0x02 } };
	plan->nic_count = 2;
	plan->channels[0] = (struct plan_channel){ .fd = 130, .name = "org.linzer.agent" };
	plan->channels[1] =
		(struct plan_channel){ .fd = 131, .listening = true, .name = "org.linzer.other" };
	plan->channel_count = 2;
}

static void add_desk(struct launch_plan *plan)
{
	plan->channels[0] = (struct plan_channel){ .fd = 130, .name = "org.linzer.agent" };
	plan->channel_count = 1;
	plan->display = plan->keyboard = plan->pointer = true;
	plan->vnc = plan->clipboard = plan->microphone = true;
}

static void fill_desk(struct launch_plan *plan)
{
	fill_raw(plan);
	add_desk(plan);
}

static void fill_arm64_desk(struct launch_plan *plan)
{
	fill_arm64(plan);
	add_desk(plan);
}

/* As a screen is that nobody touches: no keyboard, no pointer, larger than any is. */
static void fill_wall(struct launch_plan *plan)
{
	fill_raw(plan);
	plan->display = true;
	plan->width = plan->height = 65535;
}

/* Every sync with every caching, then a read-only disk. */
static void fill_disks(struct launch_plan *plan)
{
	int fd = 110;

	fill_raw(plan);
	plan->disk_count = 0;
	for (int sync = SYNC_FULL; sync <= SYNC_NONE; sync++)
		for (int caching = CACHING_AUTOMATIC; caching <= CACHING_UNCACHED; caching++)
			plan->disks[plan->disk_count++] = (struct plan_disk){
				.layers = { { .fd = fd++, .qcow2 = false } },
				.layer_count = 1,
				.sync = (enum plan_sync)sync,
				.caching = (enum plan_caching)caching,
			};
	plan->disks[plan->disk_count++] = (struct plan_disk){
		.layers = { { .fd = fd, .qcow2 = false } },
		.layer_count = 1,
		.read_only = true,
	};
}

static void fill_cdrom(struct launch_plan *plan)
{
	fill_raw(plan);
	plan->disks[1] = (struct plan_disk){
		.layers = { { .fd = 111, .qcow2 = false } },
		.layer_count = 1,
		.cdrom = true,
	};
	plan->disk_count = 2;
}

static void fill_folders(struct launch_plan *plan)
{
	fill_raw(plan);
	plan->memory_fd = 104;
	plan->folders[0] =
		(struct plan_folder){ .fd = 140, .tag = "com.apple.virtio-fs.automount" };
	plan->folders[1] = (struct plan_folder){ .fd = 141, .tag = "other_tag-2.x" };
	plan->folder_count = 2;
}

static void fill_vsock(struct launch_plan *plan)
{
	fill_desk(plan);
	plan->vsock_cid = 123456;
	plan->vsock_fd = 150;
}

const struct sample_plan sample_plans[SAMPLE_PLANS] = {
	{ .name = "raw", .fill = fill_raw },
	{ .name = "chain", .fill = fill_chain },
	{ .name = "nested", .fill = fill_nested },
	{ .name = "kvm", .fill = fill_kvm, .kvm = true },
	{ .name = "kvm-nested", .fill = fill_kvm_nested, .kvm = true },
	{ .name = "arm64", .fill = fill_arm64 },
	{ .name = "arm64-kvm", .fill = fill_arm64_kvm, .kvm = true },
	{ .name = "devices", .fill = fill_devices },
	{ .name = "disks", .fill = fill_disks },
	{ .name = "cdrom", .fill = fill_cdrom },
	{ .name = "desk", .fill = fill_desk },
	{ .name = "arm64-desk", .fill = fill_arm64_desk },
	{ .name = "wall", .fill = fill_wall },
	{ .name = "folders", .fill = fill_folders },
	{ .name = "vsock", .fill = fill_vsock },
};
