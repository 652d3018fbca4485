/* SPDX-License-Identifier: Apache-2.0 */

/* Chains that a real QEMU wrote; what the reader gives is compared with what qemu-img gives. */

#include "store/chain_fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <sys/mman.h>

#include "store/disk_reader.h"
#include "store/qcow2.h"

enum { CHAINS = 12 };

/* The content by qemu-img, mapped read-only; unmapped by the caller. */
static const uint8_t *convert(struct fixture *f, const struct vm *vm,
			      const struct disk_chain *chain, size_t *size)
{
	auto_free char *path = str_format("%s/expected", f->scratch.path);
	auto_strings argv = VEC_INIT;
	auto_fd fd = -1;
	struct stat st;
	const void *p;

	strings_add(&argv, "qemu-img");
	strings_add(&argv, "convert");
	strings_add(&argv, "-O");
	strings_add(&argv, "raw");
	strings_take(&argv, describe(vm, chain));
	strings_add(&argv, path);
	run(&argv);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_true(p != MAP_FAILED);
	*size = (size_t)st.st_size;
	return p;
}

static void unmap(const uint8_t *bytes, size_t size)
{
	assert_int_equal(munmap((void *)(uintptr_t)bytes, size), 0);
}

/* ---- comparing ---- */

static void assert_reads(struct fixture *f, const struct disk_reader *reader,
			 const uint8_t *expected, size_t size)
{
	auto_free uint8_t *bytes = xmalloc(MIB);

	for (size_t at = 0; at < size; at += MIB) {
		size_t n = size - at < MIB ? size - at : MIB;

		memset(bytes, 0xaa, n);
		assert_ok(f, disk_reader_read(reader, bytes, n, at, &f->err));
		assert_memory_equal(bytes, expected + at, n);
	}
	for (unsigned i = 0; i < 200; i++) {
		size_t at = chance((uint32_t)size), n = chance(200000);

		if (n > size - at)
			n = size - at;
		assert_ok(f, disk_reader_read(reader, bytes, n, at, &f->err));
		assert_memory_equal(bytes, expected + at, n);
	}
}

static void assert_zero(const uint8_t *bytes, uint64_t start, uint64_t end)
{
	for (uint64_t i = start; i < end; i++)
		if (bytes[i])
			fail_msg("byte %" PRIu64 " is not within the data", i);
}

/* The ranges follow each other, and outside of them all is zero. Return: their bytes. */
static uint64_t assert_covers(struct fixture *f, const struct disk_reader *reader,
			      const uint8_t *expected, size_t size)
{
	uint64_t at = 0, sum = 0, start, end;
	int r;

	while ((r = disk_reader_next_data(reader, at, &start, &end, &f->err)) > 0) {
		assert_true(at <= start && start < end && end <= size);
		assert_zero(expected, at, start);
		sum += end - start;
		at = end;
	}
	assert_ok(f, r);
	assert_zero(expected, at, size);
	return sum;
}

static void assert_same(struct fixture *f, const struct vm *vm, const struct disk_chain *chain)
{
	auto_disk_reader *reader = NULL;
	const uint8_t *expected;
	size_t size;

	assert_ok(f, disk_reader_open(vm, &reader, &f->err));
	expected = convert(f, vm, chain, &size);
	/* qemu-img speaks in sectors */
	assert_true(disk_reader_size(reader) <= size && size < disk_reader_size(reader) + SECTOR);
	assert_reads(f, reader, expected, disk_reader_size(reader));
	(void)assert_covers(f, reader, expected, disk_reader_size(reader));
	unmap(expected, size);
}

/* ---- chains ---- */

static void test_raw(void **state)
{
	static const uint64_t sizes[] = { FIXTURE_DISK, FIXTURE_DISK + 1, 9 * MIB + 511 };
	struct fixture *f = *state;

	for (size_t i = 0; i < array_size(sizes); i++) {
		auto_vm vm = VM_INIT;
		struct disk_chain chain;
		auto_disk_reader *reader = NULL;

		create(f, sizes[i], &vm, &chain);
		assert_int_equal(chain.size, sizes[i]);
		assert_same(f, &vm, &chain);
		assert_ok(f, disk_reader_open(&vm, &reader, &f->err));
		assert_int_equal(disk_reader_size(reader), sizes[i]);
		assert_ok(f, vm_delete(&f->home, "vm", &f->err));
	}
}

/* One chain after another, each of up to six layers on a raw one, grown on its way. */
static void test_random_chains(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < CHAINS; i++) {
		unsigned layers;
		auto_vm vm = VM_INIT;
		struct disk_chain chain;

		chance_state = i + 1;
		layers = chance(6) + 1;
		create(f, FIXTURE_DISK + chance(3 * MIB), &vm, &chain);
		for (unsigned k = 0; k < layers; k++) {
			assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
			if (chance(3) == 0) {
				uint64_t size = chain.size + (uint64_t)chance(4000) * SECTOR;

				assert_ok(f, vm_resize_disk(&vm, size, &f->err));
				assert_ok(f, disk_read(&vm, &chain, &f->err));
			}
			scribble(&vm, &chain, chance(30));
		}
		assert_same(f, &vm, &chain);
		assert_ok(f, vm_delete(&f->home, "vm", &f->err));
	}
}

/* Put an overlay of @size in the place of the raw disk: nothing lies below it. */
static void make_bottom(struct fixture *f, const struct vm *vm, uint64_t size,
			struct disk_chain *chain)
{
	auto_fd fd = -1;

	assert_int_equal(unlinkat(vm->dir, CHAIN_TOP, 0), 0);
	fd = disk_make_overlay(vm, CHAIN_TOP, size, &f->err);
	assert_true(fd >= 0);
	chain->size = size;
	chain->layers[0].qcow2 = true;
	assert_ok(f, disk_write(vm, chain, &f->err));
}

static void test_qcow2_at_the_bottom(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;

	chance_state = 100;
	create(f, FIXTURE_DISK, &vm, &chain);
	make_bottom(f, &vm, 3 * MIB + SECTOR, &chain);
	assert_same(f, &vm, &chain);
	scribble(&vm, &chain, 20);
	assert_same(f, &vm, &chain);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	scribble(&vm, &chain, 20);
	assert_same(f, &vm, &chain);
}

/* A layer ends, one below it does not: QEMU does not look through the upper one's end. */
static void test_short_layer_hides_a_longer_one(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_fd fd = -1;

	create(f, FIXTURE_DISK, &vm, &chain);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	assert_int_equal(chain.count, 3);
	assert_int_equal(fchmodat(vm.dir, chain.layers[1].file, 0600, 0), 0);
	fd = openat(vm.dir, chain.layers[1].file, O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_ok(f, qcow2_write_empty(fd, MIB + SECTOR, &f->err));
	assert_same(f, &vm, &chain);
}

/* Several L1 entries, and clusters on either side of where one ends. */
static void test_large_disk(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_disk_reader *reader = NULL;
	const uint8_t *expected;
	size_t size;
	auto_strings argv = VEC_INIT;

	create(f, FIXTURE_DISK, &vm, &chain);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	assert_ok(f, vm_resize_disk(&vm, 1600 * (uint64_t)MIB, &f->err));
	assert_ok(f, disk_read(&vm, &chain, &f->err));
	strings_add(&argv, "qemu-io");
	strings_add(&argv, "-c");
	strings_add(&argv, "write -P 5 511M 2M");
	strings_add(&argv, "-c");
	strings_add(&argv, "write -P 6 1599M 1M");
	strings_take(&argv, describe(&vm, &chain));
	run(&argv);
	assert_ok(f, disk_reader_open(&vm, &reader, &f->err));
	expected = convert(f, &vm, &chain, &size);
	assert_reads(f, reader, expected, size);
	assert_int_equal(assert_covers(f, reader, expected, size), FIXTURE_DISK + 3 * MIB);
	unmap(expected, size);
}

/* Zero clusters and holes in files are no data. */
static void test_next_data(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_disk_reader *reader = NULL;
	auto_strings argv = VEC_INIT;
	uint64_t start, end;
	auto_fd raw = -1;

	create(f, 8 * MIB, &vm, &chain);
	raw = openat(vm.dir, CHAIN_TOP, O_RDWR | O_CLOEXEC);
	assert_ok(f, fs_pwrite_all(raw, "data", 4, 7 * MIB, &f->err));
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	strings_add(&argv, "qemu-io");
	strings_add(&argv, "-c");
	strings_add(&argv, "write -z 64k 1984k"); /* all but the first 64 KiB of the raw data */
	strings_add(&argv, "-c");
	strings_add(&argv, "write -P 9 5M 128k");
	strings_take(&argv, describe(&vm, &chain));
	run(&argv);
	assert_ok(f, disk_reader_open(&vm, &reader, &f->err));
	assert_int_equal(disk_reader_next_data(reader, 0, &start, &end, &f->err), 1);
	assert_int_equal(start, 0);
	assert_int_equal(end, CLUSTER);
	assert_int_equal(disk_reader_next_data(reader, 100, &start, &end, &f->err), 1);
	assert_int_equal(start, 100);
	assert_int_equal(disk_reader_next_data(reader, CLUSTER, &start, &end, &f->err), 1);
	assert_int_equal(start, 5 * MIB);
	assert_int_equal(end, 5 * MIB + 2 * CLUSTER);
	assert_int_equal(disk_reader_next_data(reader, end, &start, &end, &f->err), 1);
	assert_int_equal(start, 7 * MIB);
	assert_true(end <= 7 * MIB + CLUSTER);
	assert_int_equal(disk_reader_next_data(reader, end, &start, &end, &f->err), 0);
	assert_int_equal(disk_reader_next_data(reader, 8 * MIB, &start, &end, &f->err), 0);
}

/* ---- threads ---- */

struct reading {
	const struct disk_reader *reader;
	const uint8_t *expected;
	size_t size;
	bool wrong;
};

static void *read_in_thread(void *arg)
{
	struct reading *reading = arg;
	auto_free uint8_t *bytes = xmalloc(CLUSTER);
	struct error err = ERROR_INIT;
	uint64_t start, end;

	for (size_t at = 0; at + CLUSTER < reading->size; at += 12345)
		if (disk_reader_read(reading->reader, bytes, CLUSTER, at, &err) < 0 ||
		    memcmp(bytes, reading->expected + at, CLUSTER) != 0 ||
		    disk_reader_next_data(reading->reader, at, &start, &end, &err) < 0 ||
		    start < at)
			reading->wrong = true;
	return NULL;
}

static void test_threads(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_disk_reader *reader = NULL;
	struct reading readings[4];
	pthread_t threads[4];
	const uint8_t *expected;
	size_t size;

	chance_state = 200;
	create(f, FIXTURE_DISK, &vm, &chain);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	scribble(&vm, &chain, 20);
	assert_ok(f, disk_reader_open(&vm, &reader, &f->err));
	expected = convert(f, &vm, &chain, &size);
	for (size_t i = 0; i < 4; i++) {
		readings[i] = (struct reading){ reader, expected, size, false };
		assert_int_equal(pthread_create(&threads[i], NULL, read_in_thread, &readings[i]),
				 0);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_false(readings[i].wrong);
	}
	unmap(expected, size);
}

/* ---- the odd ones ---- */

/* The file ends within a data cluster, as where a disk's size is no multiple of it. */
static void test_cut_cluster(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_strings argv = VEC_INIT;
	auto_fd fd = -1;
	struct stat st;

	create(f, FIXTURE_DISK, &vm, &chain);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	strings_add(&argv, "qemu-io");
	strings_add(&argv, "-c");
	strings_add(&argv, "write -P 5 0 64k");
	strings_take(&argv, describe(&vm, &chain));
	run(&argv);
	fd = openat(vm.dir, CHAIN_TOP, O_RDWR | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, st.st_size - CLUSTER + 1000), 0);
	assert_same(f, &vm, &chain);
}

static void test_cluster_sizes(void **state)
{
	static const char *const sizes[] = { "512", "4k", "2M" };
	struct fixture *f = *state;

	for (size_t i = 0; i < array_size(sizes); i++) {
		auto_vm vm = VM_INIT;
		struct disk_chain chain;

		chance_state = 300 + i;
		create(f, FIXTURE_DISK, &vm, &chain);
		make_by_qemu(&vm, sizes[i], "9M");
		chain.size = 9 * MIB;
		chain.layers[0].qcow2 = true;
		assert_ok(f, disk_write(&vm, &chain, &f->err));
		scribble(&vm, &chain, 20);
		assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
		scribble(&vm, &chain, 20);
		assert_same(f, &vm, &chain);
		assert_ok(f, vm_delete(&f->home, "vm", &f->err));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_raw),
		fixture_test(test_random_chains),
		fixture_test(test_qcow2_at_the_bottom),
		fixture_test(test_short_layer_hides_a_longer_one),
		fixture_test(test_large_disk),
		fixture_test(test_next_data),
		fixture_test(test_threads),
		fixture_test(test_cut_cluster),
		fixture_test(test_cluster_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
