/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The real engine takes the golden plans: started with its CPUs stopped, as
 * `run` starts it. As root it runs as a foreign user who could open none of the files by name:
 * they lie in a directory of root's alone.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/scratch.h"
#include "base/str.h"
#include "base/vec.h"
#include "machine/engine.h"
#include "machine/plan.h"
#include "machine/qmp.h"
#include "machine/sample_plan.h"

enum {
	FDS = 64,
	FOREIGN_UID = 0x70000001,
	HANDSHAKE_MS = 120000,
	CALL_MS = 60000,
	DISK_SIZE = 16 * 1024 * 1024,
};

/* One VM: what has to be ended and closed whatever an assertion does. */
struct vm {
	struct scratch scratch;
	int dir_fd;
	int open_fds[FDS]; /* what QEMU gets, and what stands for the world outside */
	size_t open_count;
	int qmp_ours;
	struct qmp *qmp;
	struct engine engine;
	struct launch_plan plan;
	pid_t pid;
};

static int setup(void **state)
{
	struct vm *vm = xcalloc(1, sizeof(*vm));

	assert_int_equal(scratch_open(&vm->scratch, scratch_place()), 0); /* mode 0700 */
	vm->dir_fd = open(vm->scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(vm->dir_fd >= 0);
	vm->qmp_ours = -1;
	*state = vm;
	return 0;
}

static void close_all(struct vm *vm)
{
	for (size_t i = 0; i < vm->open_count; i++)
		(void)close(vm->open_fds[i]);
	vm->open_count = 0;
}

static int teardown(void **state)
{
	struct vm *vm = *state;
	struct error err = ERROR_INIT;
	int status;

	if (vm->pid > 0) {
		(void)kill(vm->pid, SIGKILL);
		(void)!process_wait(vm->pid, &status, &err);
	}
	qmp_free(vm->qmp);
	cleanup_close_(&vm->qmp_ours);
	close_all(vm);
	(void)close(vm->dir_fd);
	engine_release(&vm->engine);
	assert_int_equal(scratch_close(&vm->scratch), 0);
	free(vm);
	return 0;
}

static int keep(struct vm *vm, int fd)
{
	assert_true(fd >= 0);
	assert_true(vm->open_count < FDS);
	vm->open_fds[vm->open_count++] = fd;
	return fd;
}

/* @name as a raw file or an empty qcow2 of DISK_SIZE. */
static void make_image(const struct vm *vm, const char *name, bool qcow2)
{
	auto_free char *path = str_format("%s/%s", vm->scratch.path, name);
	auto_free char *size = str_format("%d", DISK_SIZE);
	const char *const argv[] = { "qemu-img", "create", "-q", "-f", qcow2 ? "qcow2" : "raw",
				     path,	 size,	   NULL };
	struct error err = ERROR_INIT;

	assert_int_equal(process_run(&(struct process_spec){ .argv = argv }, NULL, NULL, 0, NULL,
				     CALL_MS, &err),
			 0);
}

static int open_image(struct vm *vm, const char *name, bool writable)
{
	return keep(vm, openat(vm->dir_fd, name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
}

static void open_disk(struct vm *vm, size_t index)
{
	struct plan_disk *disk = &vm->plan.disks[index];

	for (size_t i = 0; i < disk->layer_count; i++) {
		auto_free char *name = str_format("disk%zu-%zu", index, i);

		make_image(vm, name, disk->layers[i].qcow2);
		disk->layers[i].fd =
			open_image(vm, name, i == 0 && !disk->read_only && !disk->cdrom);
	}
}

static void open_firmware(struct vm *vm)
{
	struct error err = ERROR_INIT;
	auto_fd template = open(vm->engine.firmware_vars, O_RDONLY | O_CLOEXEC);
	int vars = keep(vm, openat(vm->dir_fd, "vars", O_RDWR | O_CREAT | O_CLOEXEC, 0600));

	assert_int_equal(fs_copy_sparse(template, vars, &err), 0);
	vm->plan.firmware_vars_fd = vars;
	vm->plan.firmware_code_fd = keep(vm, open(vm->engine.firmware_code, O_RDONLY | O_CLOEXEC));
}

static void open_memory(struct vm *vm)
{
	int fd = keep(vm, memfd_create("memory", MFD_CLOEXEC));

	assert_int_equal(ftruncate(fd, (off_t)vm->plan.memory), 0);
	if (geteuid() == 0)
		assert_int_equal(fchown(fd, FOREIGN_UID, FOREIGN_UID), 0);
	vm->plan.memory_fd = fd;
}

/* In a network namespace of this test's own, so that the host sees nothing of it. */
static int open_tap(struct vm *vm)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = keep(vm, open("/dev/net/tun", O_RDWR | O_CLOEXEC));

	assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
	return fd;
}

static int open_channel(struct vm *vm, bool listening)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fds[2];

	if (listening) {
		fds[0] = keep(vm, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
		(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/channel",
			       vm->scratch.path);
		assert_int_equal(bind(fds[0], (const void *)&address, sizeof(address)), 0);
		assert_int_equal(listen(fds[0], 1), 0);
		return fds[0];
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	(void)keep(vm, fds[1]);
	return keep(vm, fds[0]);
}

/* Real descriptors in the place of the sample's numbers. */
static void open_plan(struct vm *vm)
{
	struct launch_plan *plan = &vm->plan;
	int fds[2];

	open_firmware(vm);
	for (size_t i = 0; i < plan->disk_count; i++)
		open_disk(vm, i);
	if (plan->memory_fd >= 0)
		open_memory(vm);
	for (size_t i = 0; i < plan->nic_count; i++)
		plan->nics[i].tap_fd = open_tap(vm);
	for (size_t i = 0; i < plan->channel_count; i++)
		plan->channels[i].fd = open_channel(vm, plan->channels[i].listening);
	plan->console_fd = open_channel(vm, false);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	plan->qmp_fd = keep(vm, fds[0]);
	vm->qmp_ours = fds[1];
}

static void start_process(struct vm *vm)
{
	auto_strings argv = VEC_INIT;
	struct process_fd fds[FDS + 1];
	struct error err = ERROR_INIT;
	size_t count = 0;

	assert_int_equal(
		qemu_arguments(&vm->plan, vm->engine.program, &argv, fds, &count, FDS, &err), 0);
	strings_add(&argv, "-S"); /* no guest runs */
	strings_take(&argv, NULL);
	fds[count++] = (struct process_fd){ STDERR_FILENO, STDERR_FILENO };
	struct process_spec spec = {
		.argv = (const char *const *)argv.items,
		.fds = fds,
		.fd_count = count,
		.drop = geteuid() == 0,
		.uid = FOREIGN_UID,
		.gid = FOREIGN_UID,
		.no_new_privs = true,
	};
	assert_int_equal(process_start(&spec, &vm->pid, &err), 0);
}

static void start(struct vm *vm, const struct sample_plan *sample)
{
	struct error err = ERROR_INIT;

	sample->fill(&vm->plan);
	assert_int_equal(engine_find(vm->plan.arch, &vm->engine, &err), 0);
	open_plan(vm);
	start_process(vm);
	close_all(vm);
	vm->qmp = qmp_new(take_fd(&vm->qmp_ours), NULL, NULL);
	assert_int_equal(qmp_handshake(vm->qmp, HANDSHAKE_MS, &err), 0);
	assert_int_equal(qmp_check_engine(vm->qmp, &err), 0);
}

static json_t *call(struct vm *vm, const char *command, json_t *arguments, int fd)
{
	struct error err = ERROR_INIT;
	json_t *result = NULL;

	if (qmp_call(vm->qmp, command, arguments, fd, CALL_MS, &result, &err) < 0)
		fail_msg("%s", err.text);
	return result;
}

static void quit(struct vm *vm)
{
	struct error err = ERROR_INIT;
	int status = -1;

	json_decref(call(vm, "quit", NULL, -1));
	assert_int_equal(process_wait(vm->pid, &status, &err), 0);
	vm->pid = 0;
	assert_int_equal(status, 0);
}

static const struct sample_plan *find_sample(const char *name)
{
	for (size_t i = 0; i < SAMPLE_PLANS; i++)
		if (strcmp(sample_plans[i].name, name) == 0)
			return &sample_plans[i];
	fail_msg("no sample '%s'", name);
	return NULL;
}

static void start_and_quit(void **state, const char *sample)
{
	start(*state, find_sample(sample));
	quit(*state);
}

static void raw(void **state)
{
	start_and_quit(state, "raw");
}

static void chain(void **state)
{
	start_and_quit(state, "chain");
}

static void nested(void **state)
{
	start_and_quit(state, "nested");
}

static void arm64(void **state)
{
	start_and_quit(state, "arm64");
}

static void disks(void **state)
{
	start_and_quit(state, "disks");
}

static void cdrom(void **state)
{
	start_and_quit(state, "cdrom");
}

static void devices(void **state)
{
	start_and_quit(state, "devices");
}

static void assert_sandboxed(const struct vm *vm)
{
	struct error err = ERROR_INIT;
	auto_free char *path = str_format("/proc/%d/status", (int)vm->pid);
	char text[8192];
	auto_fd fd = fs_open(AT_FDCWD, path, O_RDONLY, &err);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "\nCapEff:\t0000000000000000\n"));
	assert_non_null(strstr(text, "\nNoNewPrivs:\t1\n"));
	assert_non_null(strstr(text, "\nSeccomp:\t2\n"));
	if (geteuid() == 0)
		assert_non_null(strstr(text, "\nUid:\t1879048193\t1879048193\t1879048193\t"));
}

static void the_engine_is_unprivileged_and_sandboxed(void **state)
{
	start(*state, find_sample("raw"));
	assert_sandboxed(*state);
	quit(*state);
}

/* --- freezing --- */

/* One write of the guest's drive, by the monitor's block test command. */
static void write_block(struct vm *vm, unsigned pattern, unsigned offset)
{
	auto_free char *line = str_format(
		"qemu-io -d /machine/peripheral/drive0/virtio-backend \"write -P %u %u 65536\"",
		pattern, offset);
	auto_json *answer =
		call(vm, "human-monitor-command", json_pack("{s:s}", "command-line", line), -1);

	assert_non_null(answer);
	assert_string_equal(json_string_value(answer), "");
}

static void put_overlay(struct vm *vm, const char *node, const char *overlay)
{
	int fd;
	auto_json *added = NULL;

	make_image(vm, overlay, true);
	fd = open_image(vm, overlay, true);
	added = call(vm, "add-fd", NULL, fd);
	json_decref(call(vm, "blockdev-add",
			 qemu_overlay_node(&vm->plan.disks[0], overlay,
					   json_integer_value(json_object_get(added, "fdset-id"))),
			 -1));
	json_decref(call(vm, "blockdev-snapshot", qemu_snapshot(node, overlay), -1));
	close_all(vm);
}

/* Is node @name read-only, on top of @backing? */
static void assert_node(struct vm *vm, const char *name, bool read_only)
{
	auto_json *nodes = call(vm, "query-named-block-nodes", NULL, -1);
	size_t i;
	json_t *node;

	json_array_foreach (nodes, i, node) {
		if (strcmp(json_string_value(json_object_get(node, "node-name")), name) != 0)
			continue;
		assert_int_equal(json_is_true(json_object_get(node, "ro")), read_only);
		return;
	}
	fail_msg("no node '%s'", name);
}

/* All of @name's bytes. */
static void read_image(const struct vm *vm, const char *name, struct str *bytes)
{
	struct error err = ERROR_INIT;

	assert_int_equal(fs_read_file(vm->dir_fd, name, 2 * (size_t)DISK_SIZE, bytes, &err), 0);
}

static void assert_unchanged(const struct vm *vm, const char *name, const struct str *before)
{
	auto_str now = STR_INIT;

	read_image(vm, name, &now);
	assert_int_equal(now.len, before->len);
	assert_memory_equal(now.ptr, before->ptr, now.len);
}

static void a_running_disk_freezes_twice(void **state)
{
	struct vm *vm = *state;
	auto_str base = STR_INIT;
	auto_str first = STR_INIT;

	start(vm, find_sample("raw"));
	write_block(vm, 1, 0);
	put_overlay(vm, "disk0", "overlay1");
	assert_node(vm, "disk0", true);
	assert_node(vm, "overlay1", false);
	read_image(vm, "disk0-0", &base);
	assert_int_equal(base.ptr[0], 1);
	write_block(vm, 2, 0);
	put_overlay(vm, "overlay1", "overlay2");
	assert_node(vm, "overlay1", true);
	read_image(vm, "overlay1", &first);
	write_block(vm, 3, 0);
	quit(vm);
	assert_unchanged(vm, "disk0-0", &base);
	assert_unchanged(vm, "overlay1", &first);
}

#define with_vm(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_vm(raw),
		with_vm(chain),
		with_vm(nested),
		with_vm(arm64),
		with_vm(disks),
		with_vm(cdrom),
		with_vm(devices),
		with_vm(the_engine_is_unprivileged_and_sandboxed),
		with_vm(a_running_disk_freezes_twice),
	};

	/* taps in a namespace of our own; an ordinary user needs one of users, too */
	if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) < 0) {
		perror("cannot make a network namespace");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
