/* SPDX-License-Identifier: Apache-2.0 */
#include "run/partition.h"

#include "base/error.h"
#include "store/gpt.h"

/* Sectors that the table needs, 0 where there is none. */
static uint64_t sectors_needed(const uint8_t *head, size_t len)
{
	struct mbr_entry entries[MBR_ENTRY_COUNT];
	uint64_t needed = 0;
	size_t count;

	if (gpt_is_claimed(head, len)) {
		uint64_t last = gpt_claimed_last_usable(head);

		return last == UINT64_MAX ? last : last + 1;
	}
	count = mbr_entries(head, len, entries);
	for (size_t i = 0; i < count; i++)
		if (entries[i].type != MBR_PROTECTIVE && entries[i].range.last + 1 > needed)
			needed = entries[i].range.last + 1;
	return needed;
}

int partition_check(const uint8_t *head, size_t len, uint64_t size, struct error *err)
{
	uint64_t needed = sectors_needed(head, len);

	if (needed <= size / GPT_SECTOR)
		return 0;
	return error_set(err, E_INVALID,
			 "the disk is shorter than its partition table says: %llu of %llu sectors",
			 (unsigned long long)(size / GPT_SECTOR), (unsigned long long)needed);
}
