/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Clones, on whatever file system TEST_DIR is; tests/test_store_clone.py runs this on ext4, btrfs
 * and xfs. Data is written and read by qemu-io and qemu-img through the chains.
 */

#include "store/fixture.h"

#include "machine/convert.h"
#include "machine/plan.h"

static void open_vm(struct fixture *f, const char *name, struct vm *vm, struct disk_chain *chain)
{
	assert_ok(f, vm_open(&f->home, name, true, vm, &f->err));
	assert_ok(f, disk_read(vm, chain, &f->err));
}

static void do_clone(struct fixture *f, const char *from, const char *to)
{
	assert_ok(f, vm_clone(&f->home, from, to, &(struct vm_clone){ 0 }, &f->err));
}

/* The byte at @offset_kib of the disk. */
static unsigned char peek(struct fixture *f, const char *name, unsigned offset_kib)
{
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	struct plan_layer layers[DISK_LAYERS_MAX];
	int fds[DISK_LAYERS_MAX];
	auto_free char *path = str_format("%s/flat", f->path);
	auto_fd flat = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned char byte;

	open_vm(f, name, &vm, &chain);
	assert_ok(f, disk_open_layers(&vm, &chain, true, fds, &f->err));
	for (size_t i = 0; i < chain.count; i++)
		layers[i] = (struct plan_layer){ .fd = fds[i], .qcow2 = chain.layers[i].qcow2 };
	if (chain.count == 1)
		assert_ok(f, fs_copy_sparse(fds[0], flat, &f->err));
	else
		assert_ok(f, convert_chain_to_raw(layers, chain.count, flat, &f->err));
	for (size_t i = 0; i < chain.count; i++)
		(void)close(fds[i]);
	assert_ok(f, fs_pread_all(flat, &byte, 1, (off_t)offset_kib * 1024, &f->err));
	return byte;
}

static void poke(struct fixture *f, const char *name, unsigned offset_kib, unsigned byte)
{
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_str image = STR_INIT;
	auto_free char *command = str_format("write -P %u %uk 64k", byte, offset_kib);
	pid_t pid;
	int status;

	open_vm(f, name, &vm, &chain);
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

/* Neither side ever sees the other's writes, whichever is deleted first. */
static void test_isolation(void **state)
{
	struct fixture *f = *state;

	fixture_create(f, "a", 1);
	poke(f, "a", 0, 10);
	do_clone(f, "a", "b");
	poke(f, "a", 0, 11);
	poke(f, "b", 64, 20);
	do_clone(f, "b", "c");
	poke(f, "c", 0, 30);
	poke(f, "b", 0, 21);
	assert_int_equal(peek(f, "a", 0), 11);
	assert_int_equal(peek(f, "b", 0), 21);
	assert_int_equal(peek(f, "c", 0), 30);
	assert_int_equal(peek(f, "c", 64), 20);
	assert_int_not_equal(peek(f, "a", 64), 20);
	assert_ok(f, vm_delete(&f->home, "a", &f->err));
	assert_int_equal(peek(f, "b", 0), 21);
	assert_ok(f, vm_delete(&f->home, "b", &f->err));
	assert_int_equal(peek(f, "c", 0), 30);
	assert_int_equal(peek(f, "c", 64), 20);
}

/* A source that nobody wrote to since its last clone is not frozen again. */
static void test_unchanged_source(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;

	fixture_create(f, "a", 1);
	for (unsigned i = 0; i < 20; i++) {
		auto_free char *name = str_format("b%u", i);

		do_clone(f, "a", name);
	}
	open_vm(f, "a", &vm, &chain);
	assert_true(chain.count <= 2);
	vm_release(&vm);
	open_vm(f, "b19", &vm, &chain);
	assert_true(chain.count <= 2);
}

static void test_generations(void **state)
{
	struct fixture *f = *state;

	fixture_create(f, "g0", 1);
	for (unsigned i = 1; i <= 20; i++) {
		auto_free char *from = str_format("g%u", i - 1);
		auto_free char *to = str_format("g%u", i);
		auto_vm vm = VM_INIT;
		struct disk_chain chain;

		do_clone(f, from, to);
		assert_ok(f, vm_delete(&f->home, from, &f->err));
		poke(f, to, 64 * i, i);
		open_vm(f, to, &vm, &chain);
		assert_true(chain.count <= DISK_LAYERS_MERGE + 1);
	}
	for (unsigned i = 1; i <= 20; i++)
		assert_int_equal(peek(f, "g20", 64 * i), i);
}

static void test_raw_clone(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	struct vm_sizes sizes;

	fixture_create(f, "a", 1);
	do_clone(f, "a", "b");
	poke(f, "b", 0, 9);
	assert_ok(f, vm_clone(&f->home, "b", "c", &(struct vm_clone){ .raw = true }, &f->err));
	open_vm(f, "c", &vm, &chain);
	assert_int_equal(chain.count, 1);
	assert_false(chain.layers[0].qcow2);
	assert_int_equal(peek(f, "c", 0), 9);
	assert_ok(f, vm_sizes(&vm, true, &sizes, &f->err));
	assert_true(sizes.exclusive >= FIXTURE_DISK);
}

/* Contract 2.2 and 12: who gets a new MAC, what is copied, what a clone replaces. */
static void test_rules(void **state)
{
	struct fixture *f = *state;
	auto_vm a = VM_INIT, b = VM_INIT;
	auto_config one = CONFIG_INIT, two = CONFIG_INIT;
	struct disk_chain chain;

	fixture_create(f, "a", 1);
	open_vm(f, "a", &a, &chain);
	fixture_put(a.dir, "run.log", "x");
	fixture_put(a.dir, "efivars.fd", "vars");
	fixture_put(a.dir, "manifest.json", "x");
	assert_ok(f, vm_clone(&f->home, "a", "b", &(struct vm_clone){ 0 }, &f->err));
	open_vm(f, "b", &b, &chain);
	assert_ok(f, vm_read_config(&a, &one, &f->err));
	assert_ok(f, vm_read_config(&b, &two, &f->err));
	assert_false(mac_equal(one.mac, two.mac));
	assert_int_equal(faccessat(b.dir, "run.log", F_OK, 0), -1);
	assert_int_equal(faccessat(b.dir, "manifest.json", F_OK, 0), -1);
	assert_int_equal(faccessat(b.dir, "efivars.fd", F_OK, 0), 0);
	assert_fails(f, E_FAILED, "already exists",
		     vm_clone(&f->home, "a", "b", &(struct vm_clone){ .no_clobber = true },
			      &f->err));
	do_clone(f, "a", "b");
	do_clone(f, "a", "a"); /* itself: as it was, with its address */
	config_release(&two);
	vm_release(&b);
	open_vm(f, "a", &b, &chain);
	assert_ok(f, vm_read_config(&b, &two, &f->err));
	assert_true(mac_equal(one.mac, two.mac));
	assert_fails(f, E_NOT_FOUND, "\"zzz\" does not exist",
		     vm_clone(&f->home, "zzz", "y", &(struct vm_clone){ 0 }, &f->err));
}

static void test_small_disk_stays_raw(void **state)
{
	struct fixture *f = *state;
	struct vm_create how = { .disk_size = 50000000000, .nvram_template = -1 };
	auto_vm vm = VM_INIT;
	struct disk_chain chain;

	assert_ok(f, vm_create(&f->home, "a", &how, &f->err));
	do_clone(f, "a", "b");
	open_vm(f, "a", &vm, &chain);
	assert_int_equal(chain.count, 1);
	vm_release(&vm);
	open_vm(f, "b", &vm, &chain);
	assert_int_equal(chain.count, 1);
	assert_int_equal(chain.size, 50000000000);
}

/* tmp/ elsewhere (contract 4.1 makes links of such directories): the stage is beside the VMs. */
static void test_tmp_elsewhere(void **state)
{
	struct fixture *f = *state;
	struct stat tmp, vms;
	auto_fd vms_dir = -1;
	struct scratch elsewhere;

	fixture_create(f, "a", 1);
	assert_int_equal(scratch_open(&elsewhere, "/dev/shm"), 0);
	assert_int_equal(rmdir(f->home.tmp), 0);
	assert_int_equal(symlink(elsewhere.path, f->home.tmp), 0);
	assert_int_equal(stat(f->home.tmp, &tmp), 0);
	assert_int_equal(stat(f->home.vms, &vms), 0);
	assert_true(tmp.st_dev != vms.st_dev);
	do_clone(f, "a", "b");
	do_clone(f, "a", "b");
	assert_ok(f, vm_delete(&f->home, "a", &f->err));
	assert_ok(f, home_collect_tmp(&f->home, &f->err));
	assert_int_equal(rmdir(elsewhere.path), 0); /* nothing is in it */
	(void)close(elsewhere.lock);
	vms_dir = open(f->home.vms, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fixture_count(vms_dir, ""), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_isolation),	  fixture_test(test_unchanged_source),
		fixture_test(test_generations),	  fixture_test(test_raw_clone),
		fixture_test(test_rules),	  fixture_test(test_small_disk_stays_raw),
		fixture_test(test_tmp_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
