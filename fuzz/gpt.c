/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A partition table. The input is the first sectors of a disk, whose length in sectors its first
 * two bytes say; for the checksums not to stop it at once they are made right unless the third
 * byte, as an entry of the MBR has no use for it, says otherwise.
 */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/gpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = GPT_SECTOR, KEEP_CHECKSUMS = 1 };

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_crc32(uint8_t *field, const uint8_t *bytes, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	for (unsigned i = 0; i < 4; i++)
		field[i] = (uint8_t)(~crc >> (8 * i));
}

/* For entries in sector 2, all of which the input has. */
static void repair(uint8_t *disk, size_t size)
{
	uint8_t *h = disk + HEADER;
	uint64_t length;

	if (size < 2 * (size_t)GPT_SECTOR)
		return;
	length = (uint64_t)le32(h + 80) * le32(h + 84);
	if (length <= size - 2 * (size_t)GPT_SECTOR)
		put_crc32(h + 88, disk + 2 * (size_t)GPT_SECTOR, length);
	memset(h + 16, 0, 4);
	if (le32(h + 12) <= GPT_SECTOR)
		put_crc32(h + 16, h, le32(h + 12));
}

static int make_disk(const uint8_t *data, size_t size)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	auto_free uint8_t *disk = xmalloc(size);
	size_t sectors = data[0] | (size_t)data[1] << 8;
	struct error err = ERROR_INIT;

	memcpy(disk, data, size);
	if (!(data[2] & KEEP_CHECKSUMS))
		repair(disk, size);
	if (fd < 0 || fs_pwrite_all(fd, disk, size, 0, &err) < 0 ||
	    ftruncate(fd, (off_t)sectors * GPT_SECTOR) < 0)
		abort();
	return fd;
}

/* What was read can be written, and is read as the same. */
static void check_round(int fd, struct gpt *gpt)
{
	size_t length = (size_t)gpt->entry_count * gpt->entry_size;
	struct error err = ERROR_INIT;
	auto_gpt again = GPT_INIT;

	assert(length <= GPT_ENTRIES_MAX);
	assert(gpt_write(fd, gpt, &err) == 0);
	assert(gpt_read(fd, gpt->sectors * GPT_SECTOR, &again, &err) == 1);
	assert(again.last_usable == gpt->last_usable && again.entry_count == gpt->entry_count);
	assert(memcmp(again.entries, gpt->entries, length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	auto_gpt gpt = GPT_INIT;
	uint32_t index = 0;

	if (size < 3)
		return 0;
	auto_fd fd = make_disk(data, size);
	int r = gpt_read(fd, (uint64_t)lseek(fd, 0, SEEK_END), &gpt, &err);

	if (r <= 0) {
		assert(r == 0 || (err.code > 0 && err.text[0]));
		return 0;
	}
	if (gpt_find(&gpt, "RecoveryOSContainer", &index, &err) > 0) {
		struct gpt_range range = gpt_range(&gpt, index);

		assert(range.first >= gpt.first_usable && range.last <= gpt.last_usable);
		if (!gpt_is_taken(&gpt, range, index))
			gpt_drop(&gpt, index);
	}
	check_round(fd, &gpt);
	return 0;
}
