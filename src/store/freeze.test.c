/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Crashes. The system calls that change files are wrapped by the linker: a child does one thing
 * to a VM and leaves without a word before its n-th such call; then every VM's
 * disk must hold what it held, and nothing may be left over. For every n.
 */

#include "store/fixture.h"

#include "machine/convert.h"
#include "machine/plan.h"

static unsigned calls, crash_at;

static void step(void)
{
	if (++calls == crash_at)
		_exit(99);
}

#define WRAP(type, name, parameters, arguments) \
	type __real_##name parameters;          \
	type __wrap_##name parameters;          \
	type __wrap_##name parameters           \
	{                                       \
		step();                         \
		return __real_##name arguments; \
	}
WRAP(int, renameat, (int a, const char *b, int c, const char *d), (a, b, c, d))
WRAP(int, renameat2, (int a, const char *b, int c, const char *d, unsigned e), (a, b, c, d, e))
WRAP(int, linkat, (int a, const char *b, int c, const char *d, int e), (a, b, c, d, e))
WRAP(int, unlinkat, (int a, const char *b, int c), (a, b, c))
WRAP(int, fsync, (int a), (a))
WRAP(int, ftruncate, (int a, off_t b), (a, b))
WRAP(int, mkdir, (const char *a, mode_t b), (a, b))
WRAP(ssize_t, pwrite, (int a, const void *b, size_t c, off_t d), (a, b, c, d))
WRAP(ssize_t, write, (int a, const void *b, size_t c), (a, b, c))

/* A checksum of the whole disk's content, through all layers; repairs first, as everybody does. */
static uint64_t content(struct fixture *f, const char *name)
{
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	struct plan_layer layers[DISK_LAYERS_MAX];
	int fds[DISK_LAYERS_MAX];
	auto_free char *path = str_format("%s/flat", f->path);
	auto_fd flat = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	auto_free uint64_t *data = xmalloc(FIXTURE_DISK);
	auto_fd lock = -1;
	uint64_t sum = 14695981039346656037U;

	assert_ok(f, vm_open(&f->home, name, true, &vm, &f->err));
	lock = vm_lock(&vm, &f->err);
	assert_ok(f, lock);
	assert_ok(f, disk_read(&vm, &chain, &f->err));
	assert_int_equal(fixture_count(vm.dir, "layer-"), chain.count - 1);
	assert_int_equal(fixture_count(vm.dir, "disk.img"), 1);
	assert_int_equal(fixture_count(vm.dir, "disk.json"), chain.count > 1);
	assert_ok(f, disk_open_layers(&vm, &chain, true, fds, &f->err));
	for (size_t i = 0; i < chain.count; i++)
		layers[i] = (struct plan_layer){ .fd = fds[i], .qcow2 = chain.layers[i].qcow2 };
	assert_ok(f, convert_chain_to_raw(layers, chain.count, flat, &f->err));
	for (size_t i = 0; i < chain.count; i++)
		(void)close(fds[i]);
	assert_ok(f, fs_pread_all(flat, data, FIXTURE_DISK, 0, &f->err));
	for (size_t i = 0; i < FIXTURE_DISK / sizeof(data[0]); i++)
		sum = (sum ^ data[i]) * 1099511628211U;
	(void)unlink(path);
	return sum;
}

/* Write @seed at @offset of the VM's disk, by qemu-io, through all layers. */
static void write_disk(struct fixture *f, const char *name, unsigned seed, unsigned offset_kib)
{
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_str image = STR_INIT;
	auto_free char *command = str_format("write -P %u %uk 64k", seed, offset_kib);
	pid_t pid;
	int status;

	assert_ok(f, vm_open(&f->home, name, true, &vm, &f->err));
	assert_ok(f, disk_read(&vm, &chain, &f->err));
	for (size_t i = 0; i < chain.count; i++)
		str_addf(
			&image,
			"%s\"driver\":\"%s\",\"file\":{\"driver\":\"file\",\"filename\":\"%s/%s\"}",
			i ? ",\"backing\":{" : "json:{", chain.layers[i].qcow2 ? "qcow2" : "raw",
			vm.path, chain.layers[i].file);
	for (size_t i = 0; i < chain.count; i++)
		str_addc(&image, '}');
	pid = fork();
	if (pid == 0) {
		(void)!freopen("/dev/null", "w", stdout);
		(void)execlp("qemu-io", "qemu-io", "-c", command, image.ptr, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

typedef int (*deed)(struct fixture *f, const struct vm *vm, struct disk_chain *chain);

static int do_freeze(struct fixture *f, const struct vm *vm, struct disk_chain *chain)
{
	return disk_freeze(vm, chain, NULL, NULL, &f->err);
}

static int no_switch(void *arg, int overlay, struct error *err)
{
	(void)arg;
	(void)overlay;
	return error_set(err, E_FAILED, "no switch");
}

/* What `run` does; the switch fails, and the way back may crash as well. */
static int do_failing_freeze(struct fixture *f, const struct vm *vm, struct disk_chain *chain)
{
	size_t count = chain->count;

	assert_int_equal(disk_freeze(vm, chain, no_switch, NULL, &f->err), -E_FAILED);
	assert_int_equal(chain->count, count);
	return 0;
}

static int do_flatten(struct fixture *f, const struct vm *vm, struct disk_chain *chain)
{
	return disk_flatten(vm, chain, &f->err);
}

static int do_merge(struct fixture *f, const struct vm *vm, struct disk_chain *chain)
{
	return disk_merge_if_deep(vm, chain, &f->err);
}

static int do_clone(struct fixture *f, const struct vm *vm, struct disk_chain *chain)
{
	(void)chain;
	return vm_clone(&f->home, vm->name, "copy", &(struct vm_clone){ 0 }, &f->err);
}

static int do_raw_clone(struct fixture *f, const struct vm *vm, struct disk_chain *chain)
{
	(void)chain;
	return vm_clone(&f->home, vm->name, "copy", &(struct vm_clone){ .raw = true }, &f->err);
}

static int do_resize(struct fixture *f, const struct vm *vm, struct disk_chain *chain)
{
	(void)chain;
	return vm_resize_disk(vm, 2 * FIXTURE_DISK, &f->err);
}

static int do_delete(struct fixture *f, const struct vm *vm, struct disk_chain *chain)
{
	(void)chain;
	return vm_delete(&f->home, vm->name, &f->err);
}

/* Return: has the child come to the end of @what without reaching crash number @n? */
static bool run_and_crash(struct fixture *f, const char *name, deed what, unsigned n)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		auto_vm vm = VM_INIT;
		struct disk_chain chain;

		if (vm_open(&f->home, name, true, &vm, &f->err) < 0 ||
		    disk_read(&vm, &chain, &f->err) < 0)
			_exit(98);
		calls = 0;
		crash_at = n;
		_exit(what(f, &vm, &chain) < 0 ? 97 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != 0)
		assert_int_equal(WEXITSTATUS(status), 99);
	return WEXITSTATUS(status) == 0;
}

static void check_whole(struct fixture *f, uint64_t before)
{
	auto_strings names = VEC_INIT;
	auto_fd tmp = open(f->home.tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_ok(f, home_collect_tmp(&f->home, &f->err));
	assert_int_equal(fixture_count(tmp, ""), 0);
	assert_ok(f, home_list_vms(&f->home, &names, &f->err));
	for (size_t i = 0; i < names.len; i++)
		assert_true(content(f, names.items[i]) == before);
}

/*
 * @what, crashing everywhere, upon "vm" as @prepare left it. Every round has a fresh copy of it by
 * cloning and freezing itself, or "vm" would be another after the first success.
 */
static void crash_everywhere(struct fixture *f, deed what, unsigned layers)
{
	bool done = false;

	for (unsigned n = 1; !done; n++) {
		uint64_t before;

		fixture_create(f, "vm", 1);
		for (unsigned i = 0; i < layers; i++) {
			auto_vm vm = VM_INIT;
			struct disk_chain chain;

			assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
			assert_ok(f, disk_read(&vm, &chain, &f->err));
			assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
			if (layers < 4 || i % 4 == 0)
				write_disk(f, "vm", i + 1, 64 * i + 32);
		}
		before = content(f, "vm");
		done = run_and_crash(f, "vm", what, n);
		check_whole(f, before);
		if (fixture_exists(f, "copy"))
			assert_ok(f, vm_delete(&f->home, "copy", &f->err));
		if (fixture_exists(f, "vm"))
			assert_ok(f, vm_delete(&f->home, "vm", &f->err));
		assert_true(n < 200);
	}
}

#define CRASH_TEST(name, what, layers)                  \
	static void name(void **state)                  \
	{                                               \
		crash_everywhere(*state, what, layers); \
	}
CRASH_TEST(test_freeze_of_raw, do_freeze, 0)
CRASH_TEST(test_freeze_of_overlay, do_freeze, 2)
CRASH_TEST(test_freeze_taken_back, do_failing_freeze, 1)
CRASH_TEST(test_flatten, do_flatten, 2)
CRASH_TEST(test_merge, do_merge, 9)
CRASH_TEST(test_clone_of_raw, do_clone, 0)
CRASH_TEST(test_clone_of_overlay, do_clone, 2)
CRASH_TEST(test_raw_clone, do_raw_clone, 1)
CRASH_TEST(test_resize_of_overlay, do_resize, 1)
CRASH_TEST(test_delete, do_delete, 1)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_freeze_of_raw),
		fixture_test(test_freeze_of_overlay),
		fixture_test(test_freeze_taken_back),
		fixture_test(test_flatten),
		fixture_test(test_merge),
		fixture_test(test_clone_of_raw),
		fixture_test(test_clone_of_overlay),
		fixture_test(test_raw_clone),
		fixture_test(test_resize_of_overlay),
		fixture_test(test_delete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
