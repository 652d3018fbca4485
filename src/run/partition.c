/* SPDX-License-Identifier: Apache-2.0 */
#include "run/partition.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"

enum {
	SECTOR = 512,
	MBR_ENTRIES = 446,
	MBR_ENTRY = 16,
	MBR_SIGNATURE = 510,
	MBR_PROTECTIVE = 0xee,
	GPT_LAST_USABLE = 48,
};

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const uint8_t *p)
{
	return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static bool has_gpt(const uint8_t *head, size_t len)
{
	return len >= 2 * SECTOR && memcmp(head + SECTOR, "EFI PART", 8) == 0;
}

/* Sectors that the table needs, 0 where there is none. */
static uint64_t sectors_needed(const uint8_t *head, size_t len)
{
	uint64_t needed = 0;

	if (has_gpt(head, len)) {
		uint64_t last = le64(head + SECTOR + GPT_LAST_USABLE);

		return last == UINT64_MAX ? last : last + 1;
	}
	if (len < SECTOR || head[MBR_SIGNATURE] != 0x55 || head[MBR_SIGNATURE + 1] != 0xaa)
		return 0;
	for (const uint8_t *e = head + MBR_ENTRIES; e < head + MBR_SIGNATURE; e += MBR_ENTRY) {
		uint64_t end = (uint64_t)le32(e + 8) + le32(e + 12);

		/* a boot sector of another kind: its bytes are no table */
		if (e[0] != 0 && e[0] != 0x80)
			return 0;
		if (e[4] != 0 && e[4] != MBR_PROTECTIVE && end > needed)
			needed = end;
	}
	return needed;
}

int partition_check(const uint8_t *head, size_t len, uint64_t size, struct error *err)
{
	uint64_t needed = sectors_needed(head, len);

	if (needed <= size / SECTOR)
		return 0;
	return error_set(err, E_INVALID,
			 "the disk is shorter than its partition table says: %llu of %llu sectors",
			 (unsigned long long)(size / SECTOR), (unsigned long long)needed);
}
