/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#include <sys/socket.h>
#include <time.h>

#include "base/lock.h"
#include "store/runtime.h"

/* A process that runs the VM: holds its running lock, says so, and waits to be killed. */
static pid_t start_runner(struct fixture *f, const char *name)
{
	int ends[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		auto_vm vm = VM_INIT;
		int running = -1;
		int r = vm_open(&f->home, name, true, &vm, &f->err);
		auto_fd lock = r < 0 ? r : vm_lock(&vm, &f->err);

		if (lock < 0 || vm_take_running_lock(&vm, &running, &f->err) != 1)
			_exit(1);
		(void)close(take_fd(&lock));
		(void)!write(ends[1], "", 1);
		for (;;)
			(void)pause();
	}
	(void)close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	(void)close(ends[0]);
	return pid;
}

static void stop_runner(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_open(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	auto_free char *bad = str_format("%s/bad", f->home.vms);

	assert_fails(f, E_NOT_FOUND, "the specified VM \"vm\" does not exist",
		     vm_open(&f->home, "vm", false, &vm, &f->err));
	assert_fails(f, E_NOT_FOUND, "the specified VM \"../tmp\" does not exist",
		     vm_open(&f->home, "../tmp", false, &vm, &f->err));
	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", false, &vm, &f->err));
	assert_int_equal(vm_state(&vm), VM_STOPPED);
	assert_true(time(NULL) - vm_accessed(&vm) < 60);
	assert_int_equal(mkdir(bad, 0700), 0);
	vm_release(&vm);
	assert_fails(f, E_FAILED,
		     "VM is missing some of its files (config.json, disk.img or nvram.bin)",
		     vm_open(&f->home, "bad", false, &vm, &f->err));
	assert_ok(f, vm_delete(&f->home, "bad", &f->err));
}

static void test_running_lock(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	pid_t pid;
	int fd = -1;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	pid = start_runner(f, "vm");
	assert_int_equal(vm_running_pid(&vm), pid);
	assert_int_equal(vm_state(&vm), VM_RUNNING);
	assert_int_equal(vm_take_running_lock(&vm, &fd, &f->err), 0);
	assert_fails(f, E_RUNNING, "VM \"vm\" is running", vm_delete(&f->home, "vm", &f->err));
	assert_fails(f, E_RUNNING, "VM \"vm\" is running",
		     vm_resize_disk(&vm, 2 * FIXTURE_DISK, &f->err));
	assert_fails(f, E_RUNNING, "VM \"vm\" is running",
		     vm_create(&f->home, "vm", &(struct vm_create){ .nvram_template = -1 },
			       &f->err));
	stop_runner(pid);
	assert_int_equal(vm_state(&vm), VM_STOPPED);
	assert_ok(f, vm_delete(&f->home, "vm", &f->err));
}

static uint32_t cpus(struct fixture *f, const struct vm *vm)
{
	auto_config config = CONFIG_INIT;

	assert_ok(f, vm_read_config(vm, &config, &f->err));
	return config.cpu_count;
}

static void set_cpus(struct fixture *f, const struct vm *vm, uint32_t n)
{
	auto_config config = CONFIG_INIT;
	auto_fd lock = vm_lock(vm, &f->err);

	assert_ok(f, lock);
	assert_ok(f, vm_read_config(vm, &config, &f->err));
	config.cpu_count = n;
	assert_ok(f, vm_write_config(vm, &config, &f->err));
}

/* While it runs, config.json keeps its inode and so its lock; the next start puts the new one in
 * place. */
static void test_set_while_running(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	pid_t pid;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	set_cpus(f, &vm, 2);
	assert_int_equal(faccessat(vm.dir, "config.next.json", F_OK, 0), -1);
	pid = start_runner(f, "vm");
	set_cpus(f, &vm, 3);
	assert_int_equal(vm_running_pid(&vm), pid);
	assert_int_equal(faccessat(vm.dir, "config.next.json", F_OK, 0), 0);
	assert_int_equal(cpus(f, &vm), 3);
	stop_runner(pid);
	assert_int_equal(cpus(f, &vm), 3);
	pid = start_runner(f, "vm");
	assert_int_equal(faccessat(vm.dir, "config.next.json", F_OK, 0), -1);
	assert_int_equal(cpus(f, &vm), 3);
	assert_int_equal(vm_running_pid(&vm), pid);
	stop_runner(pid);
}

static void test_broken_config(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	auto_config config = CONFIG_INIT;
	auto_strings names = VEC_INIT;
	struct vm_sizes sizes;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	fixture_put(vm.dir, "config.json", "");
	assert_fails(f, E_INVALID, "config.json of VM \"vm\"",
		     vm_read_config(&vm, &config, &f->err));
	assert_ok(f, home_list_vms(&f->home, &names, &f->err));
	assert_int_equal(names.len, 1);
	assert_ok(f, vm_sizes(&vm, true, &sizes, &f->err));
	fixture_create(f, "other", 2);
	assert_ok(f, vm_clone(&f->home, "other", "copy", &(struct vm_clone){ 0 }, &f->err));
	assert_fails(f, E_INVALID, "config.json of VM \"vm\"",
		     vm_clone(&f->home, "vm", "copy2", &(struct vm_clone){ 0 }, &f->err));
	assert_false(fixture_exists(f, "copy2"));
}

static void test_rename(void **state)
{
	struct fixture *f = *state;

	fixture_create(f, "a", 1);
	fixture_create(f, "b", 1);
	assert_fails(f, E_USAGE, "<new-name> should be a local name",
		     vm_rename(&f->home, "a", "x/y", &f->err));
	assert_fails(f, E_USAGE, "failed to rename a non-existent local VM: c",
		     vm_rename(&f->home, "c", "d", &f->err));
	assert_fails(f, E_USAGE,
		     "failed to rename VM a, target VM b already exists, delete it first!",
		     vm_rename(&f->home, "a", "b", &f->err));
	assert_ok(f, vm_rename(&f->home, "a", "c", &f->err));
	assert_false(fixture_exists(f, "a"));
	assert_true(fixture_exists(f, "c"));
}

static void test_create_replaces(void **state)
{
	struct fixture *f = *state;
	struct vm_create how = { .disk_size = 50000000000, .nvram_template = -1 };
	auto_fd tmp = open(f->home.tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_vm vm = VM_INIT;
	struct vm_sizes sizes;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_create(&f->home, "vm", &how, &f->err));
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	assert_ok(f, vm_sizes(&vm, true, &sizes, &f->err));
	assert_int_equal(sizes.apparent / 1000000000, 50);
	assert_true(sizes.allocated < 65536);
	assert_int_equal(fixture_count(tmp, ""), 0);
	how.no_clobber = true;
	assert_fails(f, E_FAILED, "already exists", vm_create(&f->home, "vm", &how, &f->err));
	how.disk_size = UINT64_MAX;
	assert_fails(f, E_TOO_BIG, "cannot have", vm_create(&f->home, "y", &how, &f->err));
}

static void test_two_deletes(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	auto_fd lock = -1;
	pid_t pids[2];
	int codes = 0;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	lock = vm_lock(&vm, &f->err); /* both will have opened it before either may go on */
	for (size_t i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			(void)close(take_fd(&lock));
			_exit(-vm_delete(&f->home, "vm", &f->err) == E_NOT_FOUND ? 2 : 0);
		}
	}
	(void)usleep(100000);
	(void)close(take_fd(&lock));
	for (size_t i = 0; i < 2; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		codes += WEXITSTATUS(status);
	}
	assert_int_equal(codes, 2);
	assert_false(fixture_exists(f, "vm"));
}

static void set_accessed(struct fixture *f, const char *name, time_t ago)
{
	auto_vm vm = VM_INIT;
	struct timespec times[2] = { { .tv_sec = time(NULL) - ago },
				     { .tv_sec = time(NULL) - ago } };

	assert_ok(f, vm_open(&f->home, name, false, &vm, &f->err));
	assert_int_equal(utimensat(vm.dir, ".accessed", times, 0), 0);
}

static void test_prune(void **state)
{
	struct fixture *f = *state;
	pid_t pid;

	assert_ok(f, vm_prune(&f->home, 0, 0, &f->err)); /* where there is nothing */
	fixture_create(f, "new", 1);
	fixture_create(f, "old", 2);
	fixture_create(f, "busy", 3);
	set_accessed(f, "old", 3 * 86400);
	set_accessed(f, "busy", 9 * 86400);
	pid = start_runner(f, "busy");
	assert_ok(f, vm_prune(&f->home, 2, -1, &f->err));
	assert_true(fixture_exists(f, "new"));
	assert_false(fixture_exists(f, "old"));
	assert_true(fixture_exists(f, "busy"));
	assert_ok(f, vm_prune(&f->home, -1, 1, &f->err));
	assert_true(fixture_exists(f, "new"));
	assert_ok(f, vm_prune(&f->home, -1, 0, &f->err));
	assert_false(fixture_exists(f, "new"));
	assert_true(fixture_exists(f, "busy"));
	stop_runner(pid);
}

static void test_runtime(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct runtime rt = { .pid = 1,
			      .qemu_pid = 5,
			      .started = 12345,
			      .accel = "tcg",
			      .interface = "lz0",
			      .leased = true,
			      .mac = mac_random() };
	struct runtime back;
	pid_t pid;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	assert_int_equal(runtime_read(&vm, &back, &f->err), 0);
	pid = start_runner(f, "vm");
	assert_int_equal(runtime_read(&vm, &back, &f->err), 0);
	rt.pid = pid + 1; /* a dead one's */
	assert_ok(f, runtime_write(&vm, &rt, &f->err));
	assert_int_equal(runtime_read(&vm, &back, &f->err), 0);
	rt.pid = pid;
	assert_ok(f, runtime_write(&vm, &rt, &f->err));
	assert_int_equal(runtime_read(&vm, &back, &f->err), 1);
	assert_int_equal(back.qemu_pid, 5);
	assert_int_equal(back.started, 12345);
	assert_string_equal(back.interface, "lz0");
	assert_true(back.leased);
	assert_true(mac_equal(back.mac, rt.mac));
	fixture_put(vm.dir, "run.json", "{\"pid\":1,\"interface\":\"0123456789abcdef0\"}");
	assert_fails(f, E_INVALID, "too long", runtime_read(&vm, &back, &f->err));
	fixture_put(vm.dir, "run.json", "{\"pid\":1,\"address\":\"1.2.3\"}");
	assert_fails(f, E_INVALID, "IPv4", runtime_read(&vm, &back, &f->err));
	runtime_remove(&vm);
	stop_runner(pid);
	assert_int_equal(runtime_read(&vm, &back, &f->err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_open),
		fixture_test(test_running_lock),
		fixture_test(test_set_while_running),
		fixture_test(test_broken_config),
		fixture_test(test_rename),
		fixture_test(test_create_replaces),
		fixture_test(test_two_deletes),
		fixture_test(test_prune),
		fixture_test(test_runtime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
