/* SPDX-License-Identifier: Apache-2.0 */
#include "run/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "cmd/vetu.h"
#include "run/cloud_init.h"
#include "run/dir_archive.h"
#include "run/dir_option.h"
#include "run/disk_option.h"
#include "run/net_options.h"
#include "store/vm.h"

struct run_args {
	const char *name, *serial_path, *rosetta, *root_disk_opts, *provisioning_opts;
	const char *cloud_init, *cloud_init_network, *ssh_key;
	struct strings disks, dirs, net_bridged, softnet_allow, softnet_block, softnet_expose;
	struct optional_number softnet_control_fd;
	struct vetu_run vetu;
	int accel;
	bool no_graphics, graphics, serial, no_audio, no_clipboard, recovery, vnc, vnc_experimental;
	bool nested, net_softnet, net_host, net_none, suspendable, capture_system_keys;
	bool no_trackpad, no_pointer, no_keyboard, detach, wait_ready, vsock;
};

static const char *const accel_choices[] = { "auto", "kvm", "tcg", NULL };

#define AT(member) offsetof(struct run_args, member)

static const struct option options[] = {
	{ "no-graphics", 0, OPTION_FLAG, AT(no_graphics), NULL, "Do not open a window.", NULL, 0 },
	{ "graphics", 0, OPTION_FLAG, AT(graphics), NULL, "Open a window also with VNC.", NULL,
	  OPTION_PRIVATE },
	{ "serial", 0, OPTION_FLAG, AT(serial), NULL,
	  "Open a new pseudo-terminal for the serial console.", NULL, OPTION_RARE },
	{ "serial-path", 0, OPTION_STRING, AT(serial_path), "path",
	  "Attach the serial console to this terminal.", NULL, OPTION_RARE },
	{ "no-audio", 0, OPTION_FLAG, AT(no_audio), NULL, "No sound.", NULL, OPTION_RARE },
	{ "no-clipboard", 0, OPTION_FLAG, AT(no_clipboard), NULL, "No shared clipboard.", NULL,
	  OPTION_RARE },
	{ "recovery", 0, OPTION_FLAG, AT(recovery), NULL, "No meaning for Linux guests.", NULL,
	  OPTION_HIDDEN },
	{ "vnc", 0, OPTION_FLAG, AT(vnc), NULL, "Print the address of the guest's own VNC server.",
	  NULL, OPTION_RARE },
	{ "vnc-experimental", 0, OPTION_FLAG, AT(vnc_experimental), NULL,
	  "Serve the display by VNC; the URL is printed.", NULL, 0 },
	{ "disk", 0, OPTION_STRINGS, AT(disks), "path[:options]",
	  "Attach a raw image, ISO, block device, NBD URL or image's disk: ro, sync=, caching=.",
	  NULL, 0 },
	{ "rosetta", 0, OPTION_STRING, AT(rosetta), "tag", "No meaning on this host.", NULL,
	  OPTION_HIDDEN },
	{ "dir", 0, OPTION_STRINGS, AT(dirs), "[name:]path[:options]",
	  "Share a folder, mounted below /mnt: ro, tag=TAG.", NULL, 0 },
	{ "cloud-init", 0, OPTION_STRING, AT(cloud_init), "user-data",
	  "Give this file (- is stdin) to the guest's cloud-init.", NULL, OPTION_RARE },
	{ "cloud-init-network", 0, OPTION_STRING, AT(cloud_init_network), "file",
	  "Give it this network-config, too.", NULL, OPTION_RARE },
	{ "ssh-key", 0, OPTION_STRING, AT(ssh_key), "file",
	  "Let the holder of this public key log in as the default user.", NULL, OPTION_RARE },
	{ "nested", 0, OPTION_FLAG, AT(nested), NULL, "Let the guest use virtualization.", NULL,
	  OPTION_RARE },
	{ "vsock", 0, OPTION_FLAG, AT(vsock), NULL,
	  "A vsock device, for guests with the stock agent; opens the host's vsock to the guest.",
	  NULL, OPTION_RARE },
	{ "net-bridged", 0, OPTION_STRINGS, AT(net_bridged), "interface",
	  "A card on the LAN of this bridge or interface; list names them.", NULL, 0 },
	{ "net-softnet", 0, OPTION_FLAG, AT(net_softnet), NULL,
	  "The guest reaches public addresses only.", NULL, 0 },
	{ "net-softnet-allow", 0, OPTION_STRINGS, AT(softnet_allow), "list",
	  "Networks, @host and names to open there (implies --net-softnet).", NULL, OPTION_RARE },
	{ "net-softnet-block", 0, OPTION_STRINGS, AT(softnet_block), "list",
	  "Networks to close there (implies --net-softnet).", NULL, OPTION_RARE },
	{ "net-softnet-expose", 0, OPTION_STRINGS, AT(softnet_expose), "list",
	  "TCP ports of the host that lead to the guest's, EXTERNAL:INTERNAL (implies "
	  "--net-softnet).",
	  NULL, OPTION_RARE },
	{ "net-softnet-control-fd", 0, OPTION_U16, AT(softnet_control_fd), "fd",
	  "A socket for changes of the running VM's rules (implies --net-softnet).", NULL,
	  OPTION_HIDDEN },
	{ "net-host", 0, OPTION_FLAG, AT(net_host), NULL, "A network with this host alone.", NULL,
	  OPTION_RARE },
	{ "net-none", 0, OPTION_FLAG, AT(net_none), NULL, "No network card.", NULL, OPTION_RARE },
	{ "root-disk-opts", 0, OPTION_STRING, AT(root_disk_opts), "options",
	  "Options of the root disk, as for --disk.", NULL, OPTION_RARE },
	{ "suspendable", 0, OPTION_FLAG, AT(suspendable), NULL,
	  "Keep the window from being closed: that would end the VM, not suspend it.", NULL,
	  OPTION_HIDDEN },
	{ "capture-system-keys", 0, OPTION_FLAG, AT(capture_system_keys), NULL,
	  "Give system keys to the window.", NULL, OPTION_RARE },
	{ "no-trackpad", 0, OPTION_FLAG, AT(no_trackpad), NULL, "No meaning for Linux guests.",
	  NULL, OPTION_HIDDEN },
	{ "no-pointer", 0, OPTION_FLAG, AT(no_pointer), NULL, "No pointer device.", NULL,
	  OPTION_RARE },
	{ "no-keyboard", 0, OPTION_FLAG, AT(no_keyboard), NULL, "No keyboard.", NULL, OPTION_RARE },
	{ "provisioning-opts", 0, OPTION_STRING, AT(provisioning_opts), "options",
	  "No meaning for Linux guests.", NULL, OPTION_HIDDEN },
	{ "net-host-mtu", 0, OPTION_U16, AT(vetu.net_host_mtu), "mtu",
	  "The MTU of networks: always 1500.", NULL, OPTION_PRIVATE },
	{ "device", 0, OPTION_STRINGS, AT(vetu.devices), "path",
	  "Refused: no device of the host is given to a VM.", NULL, OPTION_PRIVATE },
	{ "accel", 0, OPTION_CHOICE, AT(accel), "accel",
	  "How the guest's code is run: auto (default), kvm or tcg.", accel_choices, OPTION_RARE },
	{ "detach", 'd', OPTION_FLAG, AT(detach), NULL,
	  "Return when the VM runs; its output goes to run.log.", NULL, 0 },
	{ "wait-ready", 0, OPTION_FLAG, AT(wait_ready), NULL,
	  "Return when its agent answers (implies --detach).", NULL, 0 },
	{ 0 },
};

static const struct argument arguments[] = {
	{ "name", ARGUMENT_ONE, AT(name), "VM name.", COMPLETES_VM },
	{ 0 },
};

/* Softnet's options imply --net-softnet (contract 7.1). */
static bool wants_softnet(const struct run_args *args)
{
	return args->net_softnet || args->softnet_allow.len || args->softnet_block.len ||
	       args->softnet_expose.len || args->softnet_control_fd.given;
}

static int check_combinations(const struct run_args *args, struct error *err)
{
	if (args->vnc && args->vnc_experimental)
		return error_set(err, E_USAGE,
				 "--vnc and --vnc-experimental are mutually exclusive");
	if ((args->net_bridged.len != 0) + wants_softnet(args) + args->net_host + args->net_none >
	    1)
		return error_set(err, E_USAGE,
				 args->net_none ? "--net-bridged, --net-softnet, --net-host and "
						  "--net-none are mutually exclusive"
						: "--net-bridged, --net-softnet and --net-host are "
						  "mutually exclusive");
	if (args->vsock && (wants_softnet(args) || args->net_host || args->net_none))
		return error_set(err, E_USAGE,
				 "--vsock lets the guest reach services of the host past "
				 "--net-softnet, --net-host and --net-none: they are mutually "
				 "exclusive");
	if (args->graphics && args->no_graphics)
		return error_set(err, E_USAGE,
				 "--graphics and --no-graphics are mutually exclusive");
	if (args->capture_system_keys && (args->no_graphics || args->vnc || args->vnc_experimental))
		return error_set(
			err, E_USAGE,
			"--captures-system-keys can only be used with the default VM view");
	if (args->suspendable && (args->no_trackpad || args->no_keyboard || args->no_pointer))
		return error_set(err, E_USAGE, "--no-%s cannot be used with --suspendable",
				 args->no_trackpad   ? "trackpad"
				 : args->no_keyboard ? "keyboard"
						     : "pointer");
	if (args->no_trackpad)
		return error_set(err, E_USAGE, "--no-trackpad can only be used with macOS VMs");
	if (args->provisioning_opts)
		return error_set(err, E_USAGE,
				 "--provisioning-opts can only be used with macOS VMs");
	return 0;
}

static int chosen_mode(const struct run_args *args)
{
	if (args->net_none)
		return 0;
	if (args->net_host)
		return NET_HOST;
	if (args->net_bridged.len)
		return NET_BRIDGED;
	return wants_softnet(args) ? NET_SOFTNET : NET_SHARED;
}

static int add_lists(const struct run_args *args, struct net_options *network, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < args->softnet_allow.len; i++)
		net_options_add_targets(&network->allow, args->softnet_allow.items[i]);
	for (size_t i = 0; i < args->softnet_block.len; i++)
		net_options_add_targets(&network->block, args->softnet_block.items[i]);
	if (net_options_check_targets(&network->allow, &network->block, err) < 0)
		return error_wrap(err, "--net-softnet");
	for (size_t i = 0; r == 0 && i < args->softnet_expose.len; i++)
		r = net_options_add_exposed(network, args->softnet_expose.items[i], err);
	return r < 0 ? error_wrap(err, "--net-softnet-expose") : 0;
}

/* Everything is checked here, before anything is started; all mistakes are the command line's. */
static int read_network(const struct run_args *args, struct net_options *network, struct error *err)
{
	int r = add_lists(args, network, err);

	if (r < 0) {
		err->code = E_USAGE;
		return -E_USAGE;
	}
	network->mode = chosen_mode(args);
	if (args->net_bridged.len > PLAN_NICS_MAX)
		return error_set(err, E_USAGE, "at most %d network cards", PLAN_NICS_MAX);
	for (size_t i = 0; i < args->net_bridged.len; i++)
		strings_add(&network->bridged, args->net_bridged.items[i]);
	if (!args->softnet_control_fd.given)
		return 0;
	network->control = (int)args->softnet_control_fd.value;
	return net_control_check(network->control, err);
}

/* Which options are none is said when the disk is opened. */
static int check_disk(const char *value, enum config_arch arch, struct error *err)
{
	auto_disk_option option = DISK_OPTION_INIT;
	struct error later = ERROR_INIT;

	if (arch == ARCH_ARM64 && disk_option_parse(value, &option, &later) == 0 &&
	    str_ends(option.path, "-amd64.iso"))
		return error_set(err, E_USAGE,
				 "Seems you have a disk targeting x86 architecture (hence amd64 in "
				 "the name). Please use an 'arm64' version of the disk.");
	return 0;
}

static int check_disks(const struct run_args *args, enum config_arch arch, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < args->disks.len; i++)
		r = check_disk(args->disks.items[i], arch, err);
	return r;
}

/* An overlay of a stacked image (store/cache.h) is of a format that only macOS reads. */
static int check_overlays(const struct vm *vm, struct error *err)
{
	if (faccessat(vm->dir, "overlay-1.asif", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return error_set(err, E_VALIDATION,
			 "this VM came from a stacked image, whose overlays only macOS reads: it "
			 "can be cloned and pushed, but not run here");
}

/* What a VM must be to be run here at all. */
static int check_config(const struct config *config, struct error *err)
{
	if (config->os == OS_DARWIN)
		return error_set(err, E_VALIDATION,
				 "macOS VMs run only on Apple hardware: this VM can be cloned, "
				 "pushed and exported, but not run here");
	if (config->disk_format && strcmp(config->disk_format, "raw") != 0)
		return error_set(err, E_VALIDATION,
				 "the image declares the disk format '%s', which cannot be run "
				 "here",
				 config->disk_format);
	return 0;
}

static int run_validate(struct invocation *inv, void *arg, struct error *err)
{
	struct run_args *args = arg;
	auto_vm vm = VM_INIT;
	auto_config config = CONFIG_INIT;
	auto_net_options network = NET_OPTIONS_INIT;
	auto_dir_options dirs = DIR_OPTIONS_INIT;
	int r = check_combinations(args, err);

	if (r == 0)
		r = vetu_check_run(&args->vetu, err);
	if (r == 0)
		r = read_network(args, &network, err);
	if (r == 0)
		r = dir_options_parse(&args->dirs, &dirs, err);
	if (r < 0)
		return r;
	r = vm_open(&inv->home, args->name, /* quiet= */ true, &vm, err);
	if (r == 0)
		r = vm_read_config(&vm, &config, err);
	/* contract 1.2: opening the VM belongs to this verb's validation step: exit 1 */
	if (r < 0) {
		err->code = E_VALIDATION;
		return -E_VALIDATION;
	}
	r = check_config(&config, err);
	if (r == 0)
		r = check_overlays(&vm, err);
	return r < 0 ? r : check_disks(args, config.arch, err);
}

static struct desk_options desk_options(const struct run_args *args)
{
	return (struct desk_options){
		.no_graphics = args->no_graphics,
		.graphics = args->graphics,
		.vnc = args->vnc,
		.vnc_experimental = args->vnc_experimental,
		.no_audio = args->no_audio,
		.no_clipboard = args->no_clipboard,
		.no_pointer = args->no_pointer,
		.no_keyboard = args->no_keyboard,
		.capture_system_keys = args->capture_system_keys,
		.suspendable = args->suspendable,
	};
}

static void tell_that_we_wait(bool begins)
{
	static struct waiting waiting;

	if (begins)
		waiting_begin(&waiting, "waiting for the guest", NULL, NULL);
	else
		waiting_end(&waiting);
}

static int run_run(struct invocation *inv, void *arg, struct error *err)
{
	const struct run_args *args = arg;
	static const enum accel_choice choices[] = { ACCEL_AUTO, ACCEL_KVM, ACCEL_TCG };
	auto_net_options network = NET_OPTIONS_INIT;
	auto_dir_options dirs = DIR_OPTIONS_INIT;
	auto_cloud_init cloud = CLOUD_INIT_INIT;
	auto_dir_archives archives = DIR_ARCHIVES_INIT;
	const struct run_options how = {
		.name = args->name,
		.root_disk = args->root_disk_opts,
		.disks = args->disks,
		.dirs = &dirs,
		.archives = &archives,
		.cloud = &cloud,
		.serial = args->serial,
		.serial_path = args->serial_path,
		.nested = args->nested,
		.vsock = args->vsock,
		.desk = desk_options(args),
		.network = &network,
		.accel = choices[args->accel],
		.detach = args->detach,
		.wait_ready = args->wait_ready,
		.on_wait = args->wait_ready ? tell_that_we_wait : NULL,
	};
	int r;

	r = read_network(args, &network, err);
	if (r == 0)
		r = net_interfaces_check(&network.bridged, err);
	if (r == 0)
		r = dir_options_parse(&args->dirs, &dirs, err);
	if (r == 0)
		r = cloud_init_read(&cloud, args->cloud_init, args->cloud_init_network,
				    args->ssh_key, err);
	if (r == 0)
		r = dir_archives_fetch(&archives, &dirs, &inv->home, err);
	if (r < 0)
		return r;
	return run_vm(&inv->home, &how, err);
}

const struct command command_run = {
	.name = "run",
	.summary = "Run a VM",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct run_args),
	.validate = run_validate,
	.run = run_run,
};
