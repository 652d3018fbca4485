/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gpt.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

enum { SECTORS = 2048, ENTRIES = 128, ENTRY = 128, FIRST_USABLE = 34, LAST_USABLE = SECTORS - 34 };

static struct error err;

static void put(uint8_t *p, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static void put_name(uint8_t *entry, const char *name)
{
	for (size_t i = 0; name[i]; i++)
		entry[56 + 2 * i] = (uint8_t)name[i];
}

static void add(struct gpt *gpt, uint32_t index, const char *name, uint64_t first, uint64_t last)
{
	uint8_t *entry = gpt->entries + (size_t)index * ENTRY;

	memset(entry, 0x11 + (int)index, 32);
	put_name(entry, name);
	gpt_set_range(gpt, index, (struct gpt_range){ first, last });
}

static struct gpt new_table(void)
{
	struct gpt gpt = { .sectors = SECTORS,
			   .first_usable = FIRST_USABLE,
			   .last_usable = LAST_USABLE,
			   .entries_lba = 2,
			   .entry_count = ENTRIES,
			   .entry_size = ENTRY };

	gpt.entries = xcalloc(ENTRIES, ENTRY);
	memcpy(gpt.header, "EFI PART", 8);
	put(gpt.header + 8, 0x10000, 4);
	put(gpt.header + 12, 92, 4);
	put(gpt.header + 40, FIRST_USABLE, 8);
	memset(gpt.header + 56, 0x5a, 16);
	put(gpt.header + 80, ENTRIES, 4);
	put(gpt.header + 84, ENTRY, 4);
	add(&gpt, 0, "EFI", 40, 99);
	add(&gpt, 1, "Container", 100, 999);
	add(&gpt, 2, "RecoveryOSContainer", 1000, 1099);
	return gpt;
}

static void protect(int fd)
{
	uint8_t sector[512] = { 0 };

	sector[510] = 0x55;
	sector[511] = 0xaa;
	sector[446 + 4] = MBR_PROTECTIVE;
	put(sector + 446 + 8, 1, 4);
	put(sector + 446 + 12, SECTORS - 1, 4);
	assert_int_equal(fs_pwrite_all(fd, sector, sizeof(sector), 0, &err), 0);
}

/* A disk with the table. */
static int new_disk(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	auto_gpt gpt = new_table();

	assert_int_equal(ftruncate(fd, (off_t)SECTORS * 512), 0);
	protect(fd);
	assert_int_equal(gpt_write(fd, &gpt, &err), 0);
	return fd;
}

static void spoil(int fd, uint64_t offset)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
}

static int read_disk(int fd, struct gpt *gpt)
{
	return gpt_read(fd, (uint64_t)lseek(fd, 0, SEEK_END), gpt, &err);
}

static void assert_refused(int fd, int code, const char *text)
{
	auto_gpt gpt = GPT_INIT;

	assert_int_equal(read_disk(fd, &gpt), -code);
	assert_non_null(strstr(err.text, text));
	assert_null(gpt.entries);
}

/* A table that is as @change makes it; its checksums are right. */
static int disk_with(void (*change)(struct gpt *gpt))
{
	int fd = new_disk();
	auto_gpt gpt = new_table();

	change(&gpt);
	assert_int_equal(gpt_write(fd, &gpt, &err), 0);
	return fd;
}

static void a_table_is_read_as_it_was_written(void **state)
{
	auto_fd fd = new_disk();
	auto_gpt gpt = GPT_INIT;
	uint32_t index = 0;

	(void)state;
	assert_int_equal(read_disk(fd, &gpt), 1);
	assert_int_equal(gpt.last_usable, LAST_USABLE);
	assert_int_equal(gpt_find(&gpt, "RecoveryOSContainer", &index, &err), 1);
	assert_int_equal(index, 2);
	assert_int_equal(gpt_range(&gpt, index).first, 1000);
	assert_int_equal(gpt_range(&gpt, index).last, 1099);
	assert_int_equal(gpt.header[56], 0x5a); /* the disk keeps its GUID */
}

static void a_name_is_the_whole_name(void **state)
{
	auto_gpt gpt = new_table();
	uint32_t index;

	(void)state;
	assert_int_equal(gpt_find(&gpt, "RecoveryOS", &index, &err), 0);
	assert_int_equal(gpt_find(&gpt, "RecoveryOSContainers", &index, &err), 0);
	assert_int_equal(gpt_find(&gpt, "", &index, &err), 0);
	add(&gpt, 5, "abcdefghijklmnopqrstuvwxyz0123456789", 1200, 1300);
	assert_int_equal(gpt_find(&gpt, "abcdefghijklmnopqrstuvwxyz0123456789", &index, &err), 1);
	assert_int_equal(gpt_find(&gpt, "abcdefghijklmnopqrstuvwxyz01234567890", &index, &err), 0);
}

static void two_of_a_name_are_an_error(void **state)
{
	auto_gpt gpt = new_table();
	uint32_t index;

	(void)state;
	add(&gpt, 127, "Container", 1200, 1300);
	assert_int_equal(gpt_find(&gpt, "Container", &index, &err), -E_INVALID);
	gpt_drop(&gpt, 127);
	assert_int_equal(gpt_find(&gpt, "Container", &index, &err), 1);
}

static void what_is_taken(void **state)
{
	auto_gpt gpt = new_table();

	(void)state;
	assert_true(gpt_is_taken(&gpt, (struct gpt_range){ 99, 99 }, 1));
	assert_true(gpt_is_taken(&gpt, (struct gpt_range){ 0, UINT64_MAX }, 1));
	assert_false(gpt_is_taken(&gpt, (struct gpt_range){ 100, 999 }, 1));
	assert_false(gpt_is_taken(&gpt, (struct gpt_range){ 1100, UINT64_MAX }, 2));
}

static void a_spoilt_table_is_read_from_the_other(void **state)
{
	static const uint64_t places[] = { 512, 512 + 60, 512 + 16, 1024, 1024 + 16383 };

	(void)state;
	for (size_t i = 0; i < array_size(places); i++) {
		auto_fd fd = new_disk();
		auto_gpt gpt = GPT_INIT;
		uint32_t index;

		spoil(fd, places[i]);
		assert_int_equal(read_disk(fd, &gpt), 1);
		assert_int_equal(gpt_find(&gpt, "Container", &index, &err), 1);
		assert_int_equal(gpt_write(fd, &gpt, &err), 0);
		spoil(fd, (SECTORS - 1) * 512);
		gpt_release(&gpt);
		assert_int_equal(read_disk(fd, &gpt), 1); /* the first one is whole again */
		spoil(fd, places[i]);
		assert_refused(fd, E_INVALID, "damaged: it");
	}
}

/* The only whole table is not what is written to first. */
static void a_spoilt_first_table_is_written_first(void **state)
{
	const off_t end = (off_t)(LAST_USABLE + 1) * 512;
	int fd = new_disk();
	auto_gpt gpt = GPT_INIT, after = GPT_INIT;
	struct rlimit before, less;

	(void)state;
	spoil(fd, 512 + 40);
	assert_int_equal(read_disk(fd, &gpt), 1);
	gpt_drop(&gpt, 2);
	/* it goes wrong as soon as the disk's end is written to */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	less = (struct rlimit){ (rlim_t)end, before.rlim_max };
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
	assert_int_equal(gpt_write(fd, &gpt, &err), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(read_disk(fd, &after), 1);
	assert_false(after.is_second);
	assert_memory_equal(after.entries, gpt.entries, (size_t)ENTRIES * ENTRY);
	(void)close(fd);
}

static void the_second_table_moves_to_the_end(void **state)
{
	auto_fd fd = new_disk();
	auto_gpt gpt = GPT_INIT;
	uint8_t sector[512];

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)3 * SECTORS * 512), 0);
	assert_int_equal(read_disk(fd, &gpt), 1);
	assert_int_equal(gpt.last_usable, 3 * SECTORS - 34);
	assert_int_equal(gpt_write(fd, &gpt, &err), 0);
	assert_int_equal(fs_pread_all(fd, sector, 512, (off_t)(3 * SECTORS - 1) * 512, &err), 0);
	assert_memory_equal(sector, "EFI PART", 8);
	assert_int_equal(sector[24], (3 * SECTORS - 1) & 0xff);
	assert_int_equal(fs_pread_all(fd, sector, 512, 0, &err), 0);
	assert_int_equal(sector[446 + 12] | sector[446 + 13] << 8, 3 * SECTORS - 1);
	spoil(fd, 512);
	gpt_release(&gpt);
	assert_int_equal(read_disk(fd, &gpt), 1);
}

static void other_disks(void **state)
{
	auto_fd fd = memfd_create("disk", MFD_CLOEXEC);
	uint8_t sector[512] = { 0 };
	auto_gpt gpt = GPT_INIT;

	(void)state;
	assert_int_equal(read_disk(fd, &gpt), 0); /* empty */
	assert_int_equal(ftruncate(fd, (off_t)SECTORS * 512), 0);
	assert_int_equal(read_disk(fd, &gpt), 0); /* blank */
	sector[510] = 0x55;
	sector[511] = 0xaa;
	assert_int_equal(fs_pwrite_all(fd, sector, 512, 0, &err), 0);
	assert_int_equal(read_disk(fd, &gpt), 0); /* no entries */
	sector[446 + 4] = 0x83;
	assert_int_equal(fs_pwrite_all(fd, sector, 512, 0, &err), 0);
	assert_refused(fd, E_INVALID, "an MBR partition table");
	sector[446] = 0x2e; /* a boot sector's program */
	assert_int_equal(fs_pwrite_all(fd, sector, 512, 0, &err), 0);
	assert_int_equal(read_disk(fd, &gpt), 0);
	protect(fd);
	assert_refused(fd, E_INVALID, "damaged"); /* both tables are lost */
}

static void many_entries(struct gpt *gpt)
{
	put(gpt->header + 80, UINT32_MAX, 4);
}
static void no_entries(struct gpt *gpt)
{
	put(gpt->header + 80, 0, 4);
}
static void small_entries(struct gpt *gpt)
{
	put(gpt->header + 84, 64, 4);
}
static void first_usable_in_the_table(struct gpt *gpt)
{
	put(gpt->header + 40, 33, 8);
}
static void first_usable_outside(struct gpt *gpt)
{
	put(gpt->header + 40, UINT64_MAX, 8);
}
static void backwards(struct gpt *gpt)
{
	gpt_set_range(gpt, 1, (struct gpt_range){ 200, 199 });
}
static void in_the_first_table(struct gpt *gpt)
{
	gpt_set_range(gpt, 1, (struct gpt_range){ 33, 199 });
}
static void in_the_second_table(struct gpt *gpt)
{
	gpt_set_range(gpt, 1, (struct gpt_range){ 200, LAST_USABLE + 1 });
}
static void endless(struct gpt *gpt)
{
	gpt_set_range(gpt, 1, (struct gpt_range){ 200, UINT64_MAX });
}

static void tables_that_cannot_be(void **state)
{
	static const struct {
		void (*change)(struct gpt *gpt);
		int code;
		const char *text;
	} cases[] = {
		{ many_entries, E_TOO_BIG, "its entries have more than" },
		{ no_entries, E_INVALID, "it has 0 entries" },
		{ small_entries, E_INVALID, "entries of 64 bytes" },
		{ first_usable_in_the_table, E_INVALID, "sectors that cannot be" },
		{ first_usable_outside, E_INVALID, "sectors that cannot be" },
		{ backwards, E_INVALID, "partition 2 lies" },
		{ in_the_first_table, E_INVALID, "partition 2 lies" },
		{ in_the_second_table, E_INVALID, "partition 2 lies" },
		{ endless, E_INVALID, "partition 2 lies" },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		auto_fd fd = disk_with(cases[i].change);

		assert_refused(fd, cases[i].code, cases[i].text);
	}
}

static void a_disk_cut_short(void **state)
{
	auto_fd fd = new_disk();

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)1100 * 512), 0);
	assert_refused(fd, E_INVALID, "partition 3 lies");
	assert_int_equal(ftruncate(fd, (off_t)60 * 512), 0);
	assert_refused(fd, E_INVALID, "larger than the disk");
	assert_int_equal(ftruncate(fd, (off_t)2 * 512), 0);
	assert_refused(fd, E_INVALID, "larger than the disk");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_is_read_as_it_was_written),
		cmocka_unit_test(a_name_is_the_whole_name),
		cmocka_unit_test(two_of_a_name_are_an_error),
		cmocka_unit_test(what_is_taken),
		cmocka_unit_test(a_spoilt_table_is_read_from_the_other),
		cmocka_unit_test(a_spoilt_first_table_is_written_first),
		cmocka_unit_test(the_second_table_moves_to_the_end),
		cmocka_unit_test(other_disks),
		cmocka_unit_test(tables_that_cannot_be),
		cmocka_unit_test(a_disk_cut_short),
	};

	return cmocka_run_group_tests_name("store/gpt", tests, NULL, NULL);
}
