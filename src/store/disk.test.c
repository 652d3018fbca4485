/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fixture.h"

#define HEX_A "layer-0123456789abcdef0123456789abcdef"
#define HEX_B "layer-fedcba9876543210fedcba9876543210"
#define LAYER(file, format) "{\"file\":\"" file "\",\"format\":\"" format "\"}"
#define CHAIN(size, layers) "{\"version\":1,\"size\":" size ",\"layers\":[" layers "]}"

static void test_parse(void **state)
{
	struct fixture *f = *state;
	static const char text[] =
		CHAIN("1048576",
		      LAYER("disk.img", "qcow2") "," LAYER(HEX_A, "qcow2") "," LAYER(HEX_B, "raw"));
	struct disk_chain chain;

	assert_ok(f, disk_parse(text, strlen(text), &chain, &f->err));
	assert_int_equal(chain.count, 3);
	assert_int_equal(chain.size, 1048576);
	assert_string_equal(chain.layers[1].file, HEX_A);
	assert_true(chain.layers[1].qcow2);
	assert_false(chain.layers[2].qcow2);
}

static void test_bad_chains(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"",
		"{}",
		"{\"version\":2,\"size\":1,\"layers\":[" LAYER("disk.img", "raw") "]}",
		"{\"version\":1,\"layers\":[" LAYER("disk.img", "raw") "]}",
		CHAIN("-1", LAYER("disk.img", "raw")),
		CHAIN("99999999999999999", LAYER("disk.img", "raw")),
		CHAIN("1", ""),
		CHAIN("1", "1"),
		CHAIN("1", LAYER("/etc/shadow", "raw")),
		CHAIN("1", LAYER(HEX_A, "raw")),
		CHAIN("1", LAYER("disk.img", "vmdk")),
		CHAIN("1", LAYER("disk.img", "raw") "," LAYER(HEX_A, "raw")),
		CHAIN("1", LAYER("disk.img", "qcow2") "," LAYER("../b/disk.img", "raw")),
		CHAIN("1", LAYER("disk.img", "qcow2") "," LAYER("disk.img", "raw")),
		CHAIN("1",
		      LAYER("disk.img", "qcow2") "," LAYER(HEX_A, "qcow2") "," LAYER(HEX_A, "raw")),
		CHAIN("1", LAYER("disk.img", "qcow2") "," LAYER(
				   "layer-0123456789ABCDEF0123456789abcdef", "raw")),
		CHAIN("1", LAYER("disk.img.next", "qcow2") "," LAYER(HEX_A, "raw")),
	};

	for (size_t i = 0; i < array_size(bad); i++) {
		struct disk_chain chain;

		if (disk_parse(bad[i], strlen(bad[i]), &chain, &f->err) != -E_INVALID)
			fail_msg("accepted: %s", bad[i]);
	}
}

static void test_too_many_layers(void **state)
{
	struct fixture *f = *state;
	auto_str text = STR_INIT;
	struct disk_chain chain;

	str_adds(&text, "{\"version\":1,\"size\":1,\"layers\":[" LAYER("disk.img", "qcow2"));
	for (unsigned i = 0; i < DISK_LAYERS_MAX; i++)
		str_addf(&text, ",{\"file\":\"layer-%032x\",\"format\":\"qcow2\"}", i);
	str_adds(&text, "]}");
	assert_fails(f, E_INVALID, "65 layers", disk_parse(text.ptr, text.len, &chain, &f->err));
}

/* A frozen VM, opened, with its chain. */
static void make_frozen(struct fixture *f, struct vm *vm, struct disk_chain *chain)
{
	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, vm, &f->err));
	assert_ok(f, disk_read(vm, chain, &f->err));
	assert_ok(f, disk_freeze(vm, chain, NULL, NULL, &f->err));
}

static void test_open_layers(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	struct stat st;
	int fds[DISK_LAYERS_MAX];

	make_frozen(f, &vm, &chain);
	assert_int_equal(chain.count, 2);
	assert_int_equal(chain.layers[1].length, FIXTURE_DISK);
	assert_int_equal(fstatat(vm.dir, chain.layers[1].file, &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0400);
	assert_ok(f, disk_open_layers(&vm, &chain, false, fds, &f->err));
	assert_int_equal(fcntl(fds[0], F_GETFL) & O_ACCMODE, O_RDWR);
	assert_int_equal(fcntl(fds[1], F_GETFL) & O_ACCMODE, O_RDONLY);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* Every way in which a file may not be what disk.json says. */
static void test_wrong_layers(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	const char *layer = chain.layers[1].file;
	int fds[DISK_LAYERS_MAX];
	auto_fd fd = -1;

	make_frozen(f, &vm, &chain);
	fd = openat(vm.dir, layer, O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, FIXTURE_DISK / 2), 0);
	assert_fails(f, E_INVALID, "instead of",
		     disk_open_layers(&vm, &chain, false, fds, &f->err));
	chain.layers[1].qcow2 = true;
	assert_fails(f, E_INVALID, "not a qcow2",
		     disk_open_layers(&vm, &chain, false, fds, &f->err));
	assert_int_equal(unlinkat(vm.dir, layer, 0), 0);
	assert_fails(f, E_INVALID, "is missing",
		     disk_open_layers(&vm, &chain, false, fds, &f->err));
	assert_int_equal(symlinkat("/etc/passwd", vm.dir, layer), 0);
	assert_fails(f, E_INVALID, "symbolic", disk_open_layers(&vm, &chain, false, fds, &f->err));
	assert_int_equal(unlinkat(vm.dir, layer, 0), 0);
	assert_int_equal(mkdirat(vm.dir, layer, 0700), 0);
	assert_fails(f, E_INVALID, "regular", disk_open_layers(&vm, &chain, false, fds, &f->err));
	assert_non_null(strstr(f->err.text, layer));
}

static void test_depth_is_limited(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;

	make_frozen(f, &vm, &chain);
	while (chain.count < DISK_LAYERS_MAX)
		assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	assert_fails(f, E_TOO_BIG, "64 layers deep", disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	assert_ok(f, disk_read(&vm, &chain, &f->err));
	assert_int_equal(chain.count, DISK_LAYERS_MAX);
}

static void test_odd_sizes(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;

	fixture_create(f, "vm", 1);
	assert_ok(f, vm_open(&f->home, "vm", true, &vm, &f->err));
	assert_ok(f, vm_resize_disk(&vm, FIXTURE_DISK + 1, &f->err));
	assert_ok(f, disk_read(&vm, &chain, &f->err));
	assert_int_equal(chain.size, FIXTURE_DISK + 1);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	assert_int_equal(chain.size, FIXTURE_DISK + 512);
	assert_int_equal(chain.layers[1].length, FIXTURE_DISK + 1);
}

static void test_resize(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	uint64_t size;

	make_frozen(f, &vm, &chain);
	assert_ok(f, vm_resize_disk(&vm, 20000000000, &f->err));
	assert_ok(f, disk_read_size(&vm, &size, &f->err));
	assert_int_equal(size, 20000000000);
	assert_fails(f, E_FAILED,
		     "new disk size of 10 GB should be larger than the current disk size of 20 GB",
		     vm_resize_disk(&vm, 10000000000, &f->err));
	assert_fails(f, E_FAILED, "new disk size of 1.5 MB should",
		     vm_resize_disk(&vm, 1500000, &f->err));
	assert_fails(f, E_TOO_BIG, "flattened", vm_resize_disk(&vm, UINT64_C(5) << 40, &f->err));
	assert_ok(f, vm_resize_disk(&vm, 20000000000, &f->err));
}

static void test_replace_and_flatten(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	struct stat st;
	auto_free char *path = str_format("%s/new.img", f->path);
	auto_free char *layer_gone = NULL;

	make_frozen(f, &vm, &chain);
	layer_gone = str_format("%s/%s", vm.path, chain.layers[1].file);
	assert_ok(f, vm_flatten_disk(&vm, &f->err));
	assert_int_equal(access(layer_gone, F_OK), -1);
	assert_int_equal(faccessat(vm.dir, "disk.json", F_OK, 0), -1);
	assert_int_equal(fstatat(vm.dir, "disk.img", &st, 0), 0);
	assert_int_equal(st.st_size, FIXTURE_DISK);
	fixture_put(AT_FDCWD, path, "a new disk");
	assert_ok(f, vm_replace_disk(&vm, path, &f->err));
	assert_int_equal(fstatat(vm.dir, "disk.img", &st, 0), 0);
	assert_int_equal(st.st_size, 10);
	assert_fails(f, E_FAILED, "regular", vm_replace_disk(&vm, "/dev/null", &f->err));
	assert_fails(f, ENOENT, "/nonexistent", vm_replace_disk(&vm, "/nonexistent", &f->err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_parse),
		fixture_test(test_bad_chains),
		fixture_test(test_too_many_layers),
		fixture_test(test_open_layers),
		fixture_test(test_wrong_layers),
		fixture_test(test_depth_is_limited),
		fixture_test(test_odd_sizes),
		fixture_test(test_resize),
		fixture_test(test_replace_and_flatten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
