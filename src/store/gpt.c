/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gpt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

/*
 * Theory of operation
 * -------------------
 *
 * A GPT is there twice: header and entries in sectors 1 and following, and again at the end of the
 * disk, the entries before their header. Each header has a checksum of itself and one of the
 * entries. A disk that has grown has its second table in its middle; whoever writes puts it where
 * the end is now.
 *
 * The second one is written and made durable first. Until then the first one is the old one and
 * whole; from then on a first one that was written in part is told by its checksums, and every
 * reader takes the second. The protective MBR is no reader's concern, so it goes with the first.
 * Where the first one is damaged already, so that the second is all there is, it is the other way
 * round.
 */

enum {
	MBR_ENTRIES = 446,
	MBR_ENTRY = 16,
	MBR_SIGNATURE = 510,
};

/* Offsets in a header and in an entry. */
enum {
	HEADER_SIZE = 12,
	HEADER_CRC = 16,
	HEADER_LBA = 24,
	HEADER_OTHER_LBA = 32,
	HEADER_FIRST_USABLE = 40,
	HEADER_LAST_USABLE = 48,
	HEADER_ENTRIES_LBA = 72,
	HEADER_ENTRY_COUNT = 80,
	HEADER_ENTRY_SIZE = 84,
	HEADER_ENTRIES_CRC = 88,
	HEADER_LENGTH = 92, /* of all that the standard knows */
	ENTRY_FIRST = 32,
	ENTRY_LAST = 40,
	ENTRY_NAME = 56,
	ENTRY_NAME_UNITS = 36, /* of UTF-16 */
	ENTRY_LENGTH = 128,
	ENTRY_TYPE_LENGTH = 16,
	ENTRIES_LBA = 2, /* where the first table's entries usually are */
};

static const char signature[8] = { 'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T' };

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const uint8_t *p)
{
	return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static void put_le32(uint8_t *p, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static void put_le64(uint8_t *p, uint64_t value)
{
	put_le32(p, (uint32_t)value);
	put_le32(p + 4, (uint32_t)(value >> 32));
}

/* The CRC-32 of IEEE 802.3. */
static uint32_t crc32(const uint8_t *bytes, size_t len)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
	}
	return ~crc;
}

size_t mbr_entries(const uint8_t *head, size_t len, struct mbr_entry entries[MBR_ENTRY_COUNT])
{
	size_t count = 0;

	if (len < GPT_SECTOR || head[MBR_SIGNATURE] != 0x55 || head[MBR_SIGNATURE + 1] != 0xaa)
		return 0;
	for (const uint8_t *e = head + MBR_ENTRIES; e < head + MBR_SIGNATURE; e += MBR_ENTRY) {
		uint64_t first = le32(e + 8);

		/* a boot sector of another kind: its bytes are no table */
		if (e[0] != 0 && e[0] != 0x80)
			return 0;
		if (e[4] != 0)
			entries[count++] =
				(struct mbr_entry){ .type = e[4],
						    .range = { first, first + le32(e + 12) - 1 } };
	}
	return count;
}

bool gpt_is_claimed(const uint8_t *head, size_t len)
{
	return len >= GPT_HEAD && memcmp(head + GPT_SECTOR, signature, sizeof(signature)) == 0;
}

uint64_t gpt_claimed_last_usable(const uint8_t *head)
{
	return le64(head + GPT_SECTOR + HEADER_LAST_USABLE);
}

void gpt_release(struct gpt *gpt)
{
	free(gpt->entries);
	*gpt = (struct gpt)GPT_INIT;
}

static size_t entries_length(const struct gpt *gpt)
{
	return (size_t)gpt->entry_count * gpt->entry_size;
}

/* Sectors that the entries take. */
static uint64_t entries_sectors(const struct gpt *gpt)
{
	return (entries_length(gpt) + GPT_SECTOR - 1) / GPT_SECTOR;
}

static uint8_t *entry_at(const struct gpt *gpt, uint32_t index)
{
	return gpt->entries + (size_t)index * gpt->entry_size;
}

static bool is_used(const struct gpt *gpt, uint32_t index)
{
	return !fs_all_zero(entry_at(gpt, index), ENTRY_TYPE_LENGTH);
}

/* Of what it says about itself; its CRC is over itself with that field zero. */
static uint32_t header_crc(const uint8_t header[GPT_SECTOR])
{
	uint8_t copy[GPT_SECTOR];

	memcpy(copy, header, sizeof(copy));
	put_le32(copy + HEADER_CRC, 0);
	return crc32(copy, le32(header + HEADER_SIZE));
}

static int check_header(const uint8_t header[GPT_SECTOR], uint64_t lba, struct error *err)
{
	uint32_t size = le32(header + HEADER_SIZE);

	if (memcmp(header, signature, sizeof(signature)) != 0)
		return error_set(err, E_INVALID, "it has no header");
	if (size < HEADER_LENGTH || size > GPT_SECTOR)
		return error_set(err, E_INVALID, "its header has %u bytes", size);
	if (header_crc(header) != le32(header + HEADER_CRC))
		return error_set(err, E_INVALID, "its header has a wrong checksum");
	if (le64(header + HEADER_LBA) != lba)
		return error_set(err, E_INVALID, "its header belongs elsewhere");
	return 0;
}

static int check_counts(const struct gpt *gpt, struct error *err)
{
	if (gpt->entry_size < ENTRY_LENGTH || gpt->entry_size % 8 || !gpt->entry_count)
		return error_set(err, E_INVALID, "it has %u entries of %u bytes", gpt->entry_count,
				 gpt->entry_size);
	if (gpt->entry_count > GPT_ENTRIES_MAX / gpt->entry_size)
		return error_set(err, E_TOO_BIG, "its entries have more than %d bytes",
				 GPT_ENTRIES_MAX);
	return 0;
}

/*
 * Take the fields of a header that check_header() passed. @lba: where it lies.
 * On success there is room for both tables, here and at the disk's end.
 */
static int parse_header(struct gpt *gpt, uint64_t lba, uint64_t *entries_lba, struct error *err)
{
	const uint8_t *h = gpt->header;
	uint64_t length;
	int r;

	gpt->first_usable = le64(h + HEADER_FIRST_USABLE);
	gpt->entry_count = le32(h + HEADER_ENTRY_COUNT);
	gpt->entry_size = le32(h + HEADER_ENTRY_SIZE);
	r = check_counts(gpt, err);
	if (r < 0)
		return r;
	length = entries_sectors(gpt);
	if (gpt->sectors < 2 * length + 4)
		return error_set(err, E_INVALID, "it is larger than the disk");
	gpt->last_usable = gpt->sectors - length - 2;
	*entries_lba = le64(h + HEADER_ENTRIES_LBA);
	gpt->entries_lba = lba == 1 ? *entries_lba : ENTRIES_LBA;
	if (gpt->first_usable > gpt->last_usable || gpt->entries_lba < ENTRIES_LBA ||
	    gpt->entries_lba > gpt->first_usable || gpt->first_usable - gpt->entries_lba < length ||
	    *entries_lba < ENTRIES_LBA || *entries_lba > gpt->sectors - length)
		return error_set(err, E_INVALID, "its header speaks of sectors that cannot be");
	return 0;
}

static int check_entries(const struct gpt *gpt, struct error *err)
{
	if (crc32(gpt->entries, entries_length(gpt)) != le32(gpt->header + HEADER_ENTRIES_CRC))
		return error_set(err, E_INVALID, "its entries have a wrong checksum");
	for (uint32_t i = 0; i < gpt->entry_count; i++) {
		struct gpt_range range = gpt_range(gpt, i);

		if (is_used(gpt, i) && (range.first < gpt->first_usable ||
					range.last < range.first || range.last > gpt->last_usable))
			return error_set(err, E_INVALID,
					 "partition %u lies where the disk has no room for it",
					 i + 1);
	}
	return 0;
}

static off_t offset_of(uint64_t lba)
{
	return (off_t)(lba * GPT_SECTOR);
}

/* The table whose header is in sector @lba. */
static int read_table(int fd, uint64_t lba, struct gpt *gpt, struct error *err)
{
	uint64_t entries_lba = 0;
	int r = fs_pread_all(fd, gpt->header, GPT_SECTOR, offset_of(lba), err);

	if (r == 0)
		r = check_header(gpt->header, lba, err);
	if (r == 0)
		r = parse_header(gpt, lba, &entries_lba, err);
	if (r < 0)
		return r;
	free(gpt->entries);
	gpt->entries = xcalloc(entries_sectors(gpt), GPT_SECTOR);
	r = fs_pread_all(fd, gpt->entries, entries_length(gpt), offset_of(entries_lba), err);
	return r < 0 ? r : check_entries(gpt, err);
}

static bool is_protective(const struct mbr_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (entries[i].type == MBR_PROTECTIVE)
			return true;
	return false;
}

int gpt_read(int fd, uint64_t size, struct gpt *gpt, struct error *err)
{
	struct mbr_entry entries[MBR_ENTRY_COUNT];
	struct error second = ERROR_INIT;
	uint8_t head[GPT_HEAD];
	size_t count;

	if (size < sizeof(head))
		return 0;
	if (fs_pread_all(fd, head, sizeof(head), 0, err) < 0)
		return error_wrap(err, "cannot read the partition table");
	count = mbr_entries(head, sizeof(head), entries);
	if (!gpt_is_claimed(head, sizeof(head)) && !is_protective(entries, count))
		return count == 0 ? 0
				  : error_set(err, E_INVALID,
					      "the disk has an MBR partition table, not a GPT");
	*gpt = (struct gpt){ .sectors = size / GPT_SECTOR };
	if (read_table(fd, 1, gpt, err) == 0)
		return 1;
	if (read_table(fd, gpt->sectors - 1, gpt, &second) == 0) {
		gpt->is_second = true;
		return 1;
	}
	gpt_release(gpt);
	return error_wrap(err, "the disk's partition table is damaged");
}

/* Header and entries, for a header at @lba. */
static int write_table(int fd, struct gpt *gpt, uint64_t lba, uint64_t entries_lba,
		       struct error *err)
{
	uint8_t *h = gpt->header;
	int r;

	put_le64(h + HEADER_LBA, lba);
	put_le64(h + HEADER_OTHER_LBA, lba == 1 ? gpt->sectors - 1 : 1);
	put_le64(h + HEADER_LAST_USABLE, gpt->last_usable);
	put_le64(h + HEADER_ENTRIES_LBA, entries_lba);
	put_le32(h + HEADER_ENTRIES_CRC, crc32(gpt->entries, entries_length(gpt)));
	put_le32(h + HEADER_CRC, header_crc(h));
	r = fs_pwrite_all(fd, gpt->entries, entries_sectors(gpt) * GPT_SECTOR,
			  offset_of(entries_lba), err);
	if (r == 0)
		r = fs_pwrite_all(fd, h, GPT_SECTOR, offset_of(lba), err);
	if (r == 0 && fsync(fd) < 0)
		r = error_errno(err, "fsync");
	return r;
}

/* The protective entry covers the disk as it is now; any other kind of MBR is let be. */
static int write_protective(int fd, const struct gpt *gpt, struct error *err)
{
	uint64_t length = gpt->sectors - 1 > UINT32_MAX ? UINT32_MAX : gpt->sectors - 1;
	struct mbr_entry entries[MBR_ENTRY_COUNT];
	uint8_t sector[GPT_SECTOR];
	int r = fs_pread_all(fd, sector, sizeof(sector), 0, err);

	if (r < 0)
		return r;
	if (mbr_entries(sector, sizeof(sector), entries) != 1 ||
	    entries[0].type != MBR_PROTECTIVE || sector[MBR_ENTRIES + 4] != MBR_PROTECTIVE)
		return 0;
	put_le32(sector + MBR_ENTRIES + 12, (uint32_t)length);
	return fs_pwrite_all(fd, sector, sizeof(sector), 0, err);
}

static int write_first(int fd, struct gpt *gpt, struct error *err)
{
	int r = write_protective(fd, gpt, err);

	return r < 0 ? r : write_table(fd, gpt, 1, gpt->entries_lba, err);
}

static int write_second(int fd, struct gpt *gpt, struct error *err)
{
	uint64_t end = gpt->sectors - 1;

	return write_table(fd, gpt, end, end - entries_sectors(gpt), err);
}

int gpt_write(int fd, struct gpt *gpt, struct error *err)
{
	int r = gpt->is_second ? write_first(fd, gpt, err) : write_second(fd, gpt, err);

	if (r == 0)
		r = gpt->is_second ? write_second(fd, gpt, err) : write_first(fd, gpt, err);
	return r < 0 ? error_wrap(err, "cannot write the partition table") : 0;
}

static bool has_name(const struct gpt *gpt, uint32_t index, const char *name)
{
	const uint8_t *units = entry_at(gpt, index) + ENTRY_NAME;
	size_t len = strlen(name);

	for (size_t i = 0; i < ENTRY_NAME_UNITS; i++) {
		unsigned unit = units[2 * i] | (unsigned)units[2 * i + 1] << 8;

		if (unit != (i < len ? (unsigned char)name[i] : 0U))
			return false;
		if (!unit)
			return true;
	}
	return len == ENTRY_NAME_UNITS;
}

int gpt_find(const struct gpt *gpt, const char *name, uint32_t *index, struct error *err)
{
	int found = 0;

	for (uint32_t i = 0; i < gpt->entry_count; i++) {
		if (!is_used(gpt, i) || !has_name(gpt, i, name))
			continue;
		if (found++)
			return error_set(err, E_INVALID, "more than one partition is named %s",
					 name);
		*index = i;
	}
	return found;
}

struct gpt_range gpt_range(const struct gpt *gpt, uint32_t index)
{
	const uint8_t *entry = entry_at(gpt, index);

	return (struct gpt_range){ le64(entry + ENTRY_FIRST), le64(entry + ENTRY_LAST) };
}

void gpt_set_range(struct gpt *gpt, uint32_t index, struct gpt_range range)
{
	put_le64(entry_at(gpt, index) + ENTRY_FIRST, range.first);
	put_le64(entry_at(gpt, index) + ENTRY_LAST, range.last);
}

void gpt_drop(struct gpt *gpt, uint32_t index)
{
	memset(entry_at(gpt, index), 0, gpt->entry_size);
}

bool gpt_is_taken(const struct gpt *gpt, struct gpt_range range, uint32_t index)
{
	for (uint32_t i = 0; i < gpt->entry_count; i++) {
		struct gpt_range other = gpt_range(gpt, i);

		if (i != index && is_used(gpt, i) && other.first <= range.last &&
		    other.last >= range.first)
			return true;
	}
	return false;
}
