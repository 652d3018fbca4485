/* SPDX-License-Identifier: Apache-2.0 */

/* Tables that lead astray. What the right ones say is disk_reader.test.c's. */

#include "store/chain_fixture.h"

#include <endian.h>
#include <time.h>

#include "store/disk_reader.h"
#include "store/qcow2_map.h"

static uint64_t get_entry(struct fixture *f, int fd, uint64_t at)
{
	uint64_t entry;

	assert_ok(f, fs_pread_all(fd, &entry, sizeof(entry), (off_t)at, &f->err));
	return be64toh(entry);
}

static void put_entry(struct fixture *f, int fd, uint64_t at, uint64_t entry)
{
	entry = htobe64(entry);
	assert_ok(f, fs_pwrite_all(fd, &entry, sizeof(entry), (off_t)at, &f->err));
}

enum { L1 = 3 * CLUSTER }; /* of an overlay of ours */

static void test_bad_tables(void **state)
{
	static const struct {
		bool l1;
		uint64_t entry;
		const char *message;
	} bad[] = {
		{ true, 1, "L1 table is malformed" },
		{ true, UINT64_C(1) << 63, "L1 table is malformed" },
		{ true, UINT64_C(1) << 62 | CLUSTER, "L1 table is malformed" },
		{ true, CLUSTER + SECTOR, "L1 table is malformed" },
		{ true, UINT64_C(1) << 40, "L1 table points outside" },
		{ true, UINT64_C(0xffffffffff0000), "L1 table points outside" },
		{ false, UINT64_C(1) << 62 | CLUSTER, "compressed" },
		{ false, CLUSTER + SECTOR, "L2 table is malformed" },
		{ false, CLUSTER + 2, "L2 table is malformed" },
		{ false, UINT64_C(1) << 56 | CLUSTER, "L2 table is malformed" },
		{ false, UINT64_C(1) << 40, "L2 table points outside" },
		{ false, UINT64_C(0xffffffffff0000), "L2 table points outside" },
	};
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_disk_reader *reader = NULL;
	auto_fd fd = -1;
	uint64_t l2;

	create(f, FIXTURE_DISK, &vm, &chain);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	scribble(&vm, &chain, 10);
	fd = openat(vm.dir, CHAIN_TOP, O_RDWR | O_CLOEXEC);
	l2 = get_entry(f, fd, L1);
	assert_ok(f, disk_reader_open(&vm, &reader, &f->err));
	for (size_t i = 0; i < array_size(bad); i++) {
		auto_disk_reader *damaged = NULL;
		uint64_t at = bad[i].l1 ? L1 : (l2 & 0xffffff0000) + 8;
		uint64_t old = get_entry(f, fd, at), start, end = 0;
		uint8_t byte;
		int r;

		put_entry(f, fd, at, bad[i].entry);
		assert_ok(f, disk_reader_open(&vm, &damaged, &f->err));
		assert_fails(f, E_INVALID, bad[i].message,
			     disk_reader_read(damaged, &byte, 1, CLUSTER, &f->err));
		assert_non_null(strstr(f->err.text, "disk.img of VM \"vm\""));
		while ((r = disk_reader_next_data(damaged, end, &start, &end, &f->err)) > 0)
			;
		assert_int_equal(r, -E_INVALID);
		put_entry(f, fd, at, old);
	}
}

/* It begins in the file, which ends within it. */
static void test_l2_table_is_cut_off(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_disk_reader *reader = NULL;
	auto_fd fd = -1;
	uint8_t byte;

	create(f, FIXTURE_DISK, &vm, &chain);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	fd = openat(vm.dir, CHAIN_TOP, O_RDWR | O_CLOEXEC);
	put_entry(f, fd, L1, 9 * CLUSTER);
	assert_int_equal(ftruncate(fd, 10 * CLUSTER - 1), 0);
	assert_ok(f, disk_reader_open(&vm, &reader, &f->err));
	assert_fails(f, E_INVALID, "L1 table points outside",
		     disk_reader_read(reader, &byte, 1, 0, &f->err));
}

static void test_large_l1_table(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_qcow2_map map = QCOW2_MAP_INIT;
	auto_fd fd = -1;

	create(f, FIXTURE_DISK, &vm, &chain);
	make_by_qemu(&vm, "512", "8G");
	fd = openat(vm.dir, CHAIN_TOP, O_RDWR | O_CLOEXEC);
	assert_fails(f, E_TOO_BIG, "clusters are too small", qcow2_map_open(fd, &map, &f->err));
}

/* Many small questions about nothing, as a layer below makes them, do not each take a look at all.
 */
static void test_questions_about_a_large_hole(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_qcow2_map map = QCOW2_MAP_INIT;
	auto_fd fd = -1;
	clock_t before;

	create(f, FIXTURE_DISK, &vm, &chain);
	make_by_qemu(&vm, "512", "4G"); /* 131,072 L1 entries */
	fd = openat(vm.dir, CHAIN_TOP, O_RDWR | O_CLOEXEC);
	assert_ok(f, qcow2_map_open(fd, &map, &f->err));
	before = clock();
	for (uint64_t at = 0; at < map.size; at += 32 * 1024) {
		struct qcow2_extent extent;

		assert_ok(f, qcow2_map_find(&map, at, map.size - at, &extent, &f->err));
		assert_int_equal(extent.kind, QCOW2_UNALLOCATED);
		assert_true(extent.length > 0 && extent.length <= map.size - at);
	}
	assert_true((clock() - before) / CLOCKS_PER_SEC < 2);
}

static void test_l1_table_is_cut_off(void **state)
{
	struct fixture *f = *state;
	auto_vm vm = VM_INIT;
	struct disk_chain chain;
	auto_disk_reader *reader = NULL;
	auto_fd fd = -1;

	create(f, FIXTURE_DISK, &vm, &chain);
	assert_ok(f, disk_freeze(&vm, &chain, NULL, NULL, &f->err));
	fd = openat(vm.dir, CHAIN_TOP, O_RDWR | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 3 * CLUSTER), 0);
	assert_fails(f, E_INVALID, "L1 table", disk_reader_open(&vm, &reader, &f->err));
	assert_null(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fixture_test(test_bad_tables),
		fixture_test(test_l2_table_is_cut_off),
		fixture_test(test_large_l1_table),
		fixture_test(test_questions_about_a_large_hole),
		fixture_test(test_l1_table_is_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
