/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_GPT_H
#define STORE_GPT_H

/*
 * Partition tables of raw disks: a GUID partition table (UEFI 2.10, 5.3) is read and written, an
 * MBR only recognised. Sectors are of 512 bytes. What the disk holds is a guest's, so nothing in
 * it is believed before it was checked.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

enum {
	GPT_SECTOR = 512,
	GPT_HEAD = 2 * GPT_SECTOR, /* bytes of a disk that say which kind of table it has */
	GPT_ENTRIES_MAX = 1024 * 1024, /* bytes of a table's entries */
	MBR_ENTRY_COUNT = 4,
	MBR_PROTECTIVE = 0xee, /* the type of the entry that keeps an MBR's tools off a GPT */
};

/* Where a partition lies, in sectors; both are in it. */
struct gpt_range {
	uint64_t first, last;
};

struct mbr_entry {
	uint8_t type; /* not 0 */
	struct gpt_range range; /* .last is before .first where it is empty */
};
/*
 * The used entries of the MBR that the first @len bytes of a disk are. Return: how many; 0 also
 * where there is no MBR, such as the boot sector of a file system.
 */
size_t mbr_entries(const uint8_t *head, size_t len, struct mbr_entry entries[MBR_ENTRY_COUNT]);

/* Do the first @len bytes of a disk claim that it has a GPT? */
bool gpt_is_claimed(const uint8_t *head, size_t len);
/* The last sector that partitions may use, as such bytes say (unchecked). */
uint64_t gpt_claimed_last_usable(const uint8_t *head);

/* A table in memory. */
struct gpt {
	uint64_t sectors; /* of the disk */
	uint64_t first_usable;
	uint64_t last_usable; /* when the second table is where it belongs: at the disk's end */
	uint64_t entries_lba; /* of the first table */
	uint32_t entry_count, entry_size; /* bytes of each */
	bool is_second; /* it was read from the disk's end, as the first one is damaged */
	uint8_t header[GPT_SECTOR]; /* as it was read: what else stands there is kept */
	uint8_t *entries;
};
#define GPT_INIT  \
	{         \
		0 \
	}
void gpt_release(struct gpt *gpt);
#define auto_gpt cleanup_(gpt_release) struct gpt

/*
 * Read the table of the disk behind @fd, which has @size bytes: the first one, or where that is
 * damaged the second one at the disk's end.
 * Return: 1; 0: the disk has no partition table; E_INVALID: it has an MBR, or a GPT that is damaged
 * or speaks of more than the disk has; E_TOO_BIG.
 */
int gpt_read(int fd, uint64_t size, struct gpt *gpt, struct error *err) must_use_;

/*
 * Write both tables, the second one to the disk's end, wherever it was; the one that gpt_read()
 * took comes last. Durable; whenever it is interrupted one of the two is whole, and gpt_read()
 * finds the old or the new.
 */
int gpt_write(int fd, struct gpt *gpt, struct error *err) must_use_;

/*
 * Look for the partition of this name (ASCII).
 * Return: 1 and its number in *index; 0 there is none; E_INVALID there are two.
 */
int gpt_find(const struct gpt *gpt, const char *name, uint32_t *index, struct error *err) must_use_;
struct gpt_range gpt_range(const struct gpt *gpt, uint32_t index);
void gpt_set_range(struct gpt *gpt, uint32_t index, struct gpt_range range);
/* Make the entry an unused one. */
void gpt_drop(struct gpt *gpt, uint32_t index);
/* Does a partition other than @index lie, be it in part, in @range? */
bool gpt_is_taken(const struct gpt *gpt, struct gpt_range range, uint32_t index);

#endif
