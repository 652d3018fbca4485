/* SPDX-License-Identifier: Apache-2.0 */
#include "store/qcow2_map.h"

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/qcow2.h"

enum { ENTRIES_AT_ONCE = 512 }; /* of a table: 4 KiB; of an L2 table 32 MiB of the disk */

/* An entry of either table. */
#define ENTRY_OFFSET UINT64_C(0x00fffffffffffe00)
#define ENTRY_COPIED (UINT64_C(1) << 63) /* its refcount is 1: of no interest to a reader */
#define ENTRY_COMPRESSED (UINT64_C(1) << 62) /* in L2 alone */
#define ENTRY_ZERO UINT64_C(1) /* in L2 alone */

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t cluster_size(const struct qcow2_map *map)
{
	return UINT64_C(1) << map->cluster_bits;
}

/* An L2 table fills a cluster with entries of 8 bytes: as a power of two. */
static uint32_t l2_bits(const struct qcow2_map *map)
{
	return map->cluster_bits - 3;
}

int qcow2_map_open(int fd, struct qcow2_map *map, struct error *err)
{
	struct qcow2_header header = { 0 };
	auto_free uint64_t *l1 = NULL;
	uint64_t entries, covered; /* bytes of the disk by one entry */
	struct stat st;
	int r = qcow2_read_header(fd, &header, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return error_errno(err, "cannot read");
	covered = UINT64_C(1) << (2 * header.cluster_bits - 3);
	entries = header.size / covered + (header.size % covered != 0);
	if (entries > QCOW2_MAP_L1_MAX / sizeof(l1[0]))
		return error_set(err, E_TOO_BIG, "its clusters are too small for its size");
	l1 = xcalloc(entries + 1, sizeof(l1[0]));
	r = fs_pread_all(fd, l1, entries * sizeof(l1[0]), (off_t)header.l1_offset, err);
	if (r < 0)
		return error_wrap(err, "its L1 table");
	*map = (struct qcow2_map){ .fd = fd,
				   .size = header.size,
				   .file_size = (uint64_t)st.st_size,
				   .cluster_bits = header.cluster_bits,
				   .l1 = take(l1),
				   .l1_entries = entries };
	return 0;
}

void qcow2_map_release(struct qcow2_map *map)
{
	free(map->l1);
	*map = (struct qcow2_map)QCOW2_MAP_INIT;
}

/*
 * Return: the bytes from @offset, whose L1 entry is zero, to where the next is not, or enough
 * were looked at: whoever asks for little at a time must not have us look at all of them each time.
 */
static uint64_t l1_gap(const struct qcow2_map *map, uint64_t offset)
{
	uint32_t shift = map->cluster_bits + l2_bits(map);
	uint64_t i = (offset >> shift) + 1;
	uint64_t end = smaller(map->l1_entries, i + ENTRIES_AT_ONCE);

	while (i < end && !map->l1[i])
		i++;
	return (i << shift) - offset;
}

/* The L2 table of @offset. Return: 1 and where it is, 0 if there is none, or error. */
static int find_table(const struct qcow2_map *map, uint64_t offset, uint64_t *table,
		      struct error *err)
{
	uint64_t entry = be64toh(map->l1[offset >> (map->cluster_bits + l2_bits(map))]);
	uint64_t at = entry & ENTRY_OFFSET;

	if (entry == 0)
		return 0;
	if (entry & ~(ENTRY_OFFSET | ENTRY_COPIED) || at == 0 || at % cluster_size(map))
		return error_set(err, E_INVALID, "its L1 table is malformed");
	if (at >= map->file_size || map->file_size - at < cluster_size(map))
		return error_set(err, E_INVALID, "its L1 table points outside its file");
	*table = at;
	return 1;
}

/* What an entry of an L2 table says of its cluster; its .length is not set. */
static int read_entry(const struct qcow2_map *map, uint64_t entry, struct qcow2_extent *cluster,
		      struct error *err)
{
	uint64_t at = entry & ENTRY_OFFSET;

	if (entry & ENTRY_COMPRESSED)
		return error_set(err, E_INVALID, "it holds compressed clusters");
	if (entry & ~(ENTRY_OFFSET | ENTRY_COPIED | ENTRY_ZERO) || at % cluster_size(map))
		return error_set(err, E_INVALID, "an L2 table is malformed");
	*cluster = (struct qcow2_extent){ .kind = QCOW2_UNALLOCATED };
	if (entry & ENTRY_ZERO) {
		cluster->kind = QCOW2_ZERO;
	} else if (at) {
		if (at >= map->file_size)
			return error_set(err, E_INVALID, "an L2 table points outside its file");
		*cluster = (struct qcow2_extent){ .kind = QCOW2_DATA, .host = at };
	}
	return 0;
}

/* @run clusters after @first: does @next carry on? */
static bool carries_on(const struct qcow2_map *map, const struct qcow2_extent *first, uint64_t run,
		       const struct qcow2_extent *next)
{
	return next->kind == first->kind &&
	       (first->kind != QCOW2_DATA || next->host == first->host + run * cluster_size(map));
}

/* The extent that begins with the first of @n entries. */
static int read_extent(const struct qcow2_map *map, const uint64_t *entries, size_t n,
		       struct qcow2_extent *extent, struct error *err)
{
	uint64_t run = 1;
	int r = read_entry(map, be64toh(entries[0]), extent, err);

	while (r == 0 && run < n) {
		struct qcow2_extent next;

		r = read_entry(map, be64toh(entries[run]), &next, err);
		if (r == 0 && !carries_on(map, extent, run, &next))
			break;
		run++;
	}
	extent->length = run * cluster_size(map);
	return r;
}

int qcow2_map_find(const struct qcow2_map *map, uint64_t offset, uint64_t len,
		   struct qcow2_extent *extent, struct error *err)
{
	const uint64_t within = offset % cluster_size(map);
	const uint64_t index = (offset >> map->cluster_bits) % (UINT64_C(1) << l2_bits(map));
	uint64_t entries[ENTRIES_AT_ONCE];
	struct qcow2_extent found = { .length = 0 };
	uint64_t table, n;
	int r;

	assert(len && offset < map->size && len <= map->size - offset);
	r = find_table(map, offset, &table, err);
	if (r == 0)
		*extent = (struct qcow2_extent){ .kind = QCOW2_UNALLOCATED,
						 .length = smaller(len, l1_gap(map, offset)) };
	if (r <= 0)
		return r;
	n = (within + len - 1) / cluster_size(map) + 1;
	n = smaller(n, (UINT64_C(1) << l2_bits(map)) - index);
	n = smaller(n, ENTRIES_AT_ONCE);
	r = fs_pread_all(map->fd, entries, n * sizeof(entries[0]),
			 (off_t)(table + index * sizeof(entries[0])), err);
	if (r == 0)
		r = read_extent(map, entries, n, &found, err);
	if (r < 0)
		return r;
	found.length = smaller(found.length - within, len);
	if (found.kind == QCOW2_DATA)
		found.host += within;
	*extent = found;
	return 0;
}
