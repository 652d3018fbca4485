/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation. Our empty overlay of 64 KiB clusters:
 *
 *   cluster 0    header
 *   cluster 1    refcount table, one entry
 *   cluster 2    refcount block, 16 bits for each cluster
 *   cluster 3..  L1 table, all zero
 *
 * Everything but 200 bytes is holes. An L1 entry covers 512 MiB, one cluster of them 4
 * TiB; since the cluster is there anyway the table always fills it, and growing a disk is
 * rewriting the header's size. QEMU takes a table that is longer than it need be.
 *
 * QEMU writes an L1 entry before it acknowledges the first write into its 512 MiB, so an L1
 * table of zeroes means that nothing was ever written, even while QEMU has the file open.
 */

#include "store/qcow2.h"

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

enum {
	CLUSTER_BITS = 16,
	CLUSTER = 1 << CLUSTER_BITS,
	CLUSTER_BITS_MIN = 9,
	CLUSTER_BITS_MAX = 21,
	REFCOUNT_ORDER = 4, /* 16 bits */
	REFCOUNT_ORDER_MAX = 6,
	L1_ENTRIES_MAX = 32 * 1024 * 1024 / 8, /* QEMU's own limit */
	L1_FIRST_CLUSTER = 3,
	SECTOR = 512,
};
#define MAGIC UINT32_C(0x514649fb) /* "QFI\xfb" */
#define INCOMPATIBLE_DIRTY UINT64_C(1)
#define INCOMPATIBLE_CORRUPT UINT64_C(2)

/* Big-endian on the disk. */
struct disk_header {
	uint32_t magic;
	uint32_t version;
	uint64_t backing_offset;
	uint32_t backing_size;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_entries;
	uint64_t l1_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint32_t snapshot_count;
	uint64_t snapshots_offset;
	uint64_t incompatible;
	uint64_t compatible;
	uint64_t autoclear;
	uint32_t refcount_order;
	uint32_t header_length;
};
_Static_assert(sizeof(struct disk_header) == 104, "the header of version 3");

static uint64_t divide_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

/* L1 entries that @size virtual bytes need: one for each L2 table of a cluster. */
static uint64_t l1_entries_for(uint64_t size, uint32_t cluster_bits)
{
	return divide_up(size, UINT64_C(1) << (2 * cluster_bits - 3));
}

static int check_kind(const struct disk_header *h, struct error *err)
{
	uint64_t incompatible = be64toh(h->incompatible);

	if (be32toh(h->magic) != MAGIC)
		return error_set(err, E_INVALID, "not a qcow2 image");
	if (be32toh(h->version) != 3)
		return error_set(err, E_INVALID, "qcow2 of version %u", be32toh(h->version));
	if (h->backing_offset)
		return error_set(err, E_INVALID, "it names a backing file");
	if (h->crypt_method)
		return error_set(err, E_INVALID, "it is encrypted");
	if (h->snapshot_count)
		return error_set(err, E_INVALID, "it holds internal snapshots");
	if (incompatible & INCOMPATIBLE_CORRUPT)
		return error_set(err, E_INVALID, "it is marked corrupt");
	if (incompatible & ~INCOMPATIBLE_DIRTY)
		return error_set(err, E_INVALID, "unknown incompatible features %#llx",
				 (unsigned long long)incompatible);
	return 0;
}

static int check_geometry(const struct disk_header *h, struct error *err)
{
	uint32_t bits = be32toh(h->cluster_bits);
	uint64_t size = be64toh(h->size);
	uint64_t l1_offset = be64toh(h->l1_offset);

	if (bits < CLUSTER_BITS_MIN || bits > CLUSTER_BITS_MAX ||
	    be32toh(h->refcount_order) > REFCOUNT_ORDER_MAX)
		return error_set(err, E_INVALID, "its header is malformed");
	if (size > QCOW2_SIZE_MAX)
		return error_set(err, E_TOO_BIG, "its virtual size is %llu bytes",
				 (unsigned long long)size);
	if (be32toh(h->l1_entries) > L1_ENTRIES_MAX ||
	    be32toh(h->l1_entries) < l1_entries_for(size, bits) || l1_offset > INT64_MAX / 2 ||
	    l1_offset % (UINT64_C(1) << bits))
		return error_set(err, E_INVALID, "its L1 table is malformed");
	return 0;
}

int qcow2_read_header(int fd, struct qcow2_header *header, struct error *err)
{
	struct disk_header h;
	int r = fs_pread_all(fd, &h, sizeof(h), 0, err);

	if (r == -E_INVALID)
		return error_set(err, E_INVALID, "not a qcow2 image");
	if (r == 0)
		r = check_kind(&h, err);
	if (r == 0)
		r = check_geometry(&h, err);
	if (r < 0)
		return r;
	*header = (struct qcow2_header){ .size = be64toh(h.size),
					 .l1_offset = be64toh(h.l1_offset),
					 .l1_entries = be32toh(h.l1_entries),
					 .cluster_bits = be32toh(h.cluster_bits) };
	return 0;
}

static int write_header(int fd, uint64_t size, uint64_t l1_clusters, struct error *err)
{
	/* followed by the end of the header extensions: eight zero bytes, a hole */
	struct disk_header h = {
		.magic = htobe32(MAGIC),
		.version = htobe32(3),
		.cluster_bits = htobe32(CLUSTER_BITS),
		.size = htobe64(size),
		.l1_entries = htobe32((uint32_t)(l1_clusters * (CLUSTER / 8))),
		.l1_offset = htobe64(L1_FIRST_CLUSTER * CLUSTER),
		.refcount_table_offset = htobe64(CLUSTER),
		.refcount_table_clusters = htobe32(1),
		.refcount_order = htobe32(REFCOUNT_ORDER),
		.header_length = htobe32(sizeof(h)),
	};

	return fs_pwrite_all(fd, &h, sizeof(h), 0, err);
}

static int write_refcounts(int fd, uint64_t clusters, struct error *err)
{
	uint64_t block = htobe64(2 * CLUSTER);
	uint16_t counts[L1_FIRST_CLUSTER + QCOW2_SIZE_MAX / (UINT64_C(1) << 42)];
	int r = fs_pwrite_all(fd, &block, sizeof(block), CLUSTER, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < clusters; i++)
		counts[i] = htobe16(1);
	return fs_pwrite_all(fd, counts, clusters * sizeof(counts[0]), 2 * CLUSTER, err);
}

int qcow2_write_empty(int fd, uint64_t size, struct error *err)
{
	uint64_t l1_clusters, clusters;
	int r;

	if (size > QCOW2_SIZE_MAX || size % SECTOR)
		return error_set(err, E_TOO_BIG, "a disk cannot have %llu bytes",
				 (unsigned long long)size);
	l1_clusters = divide_up(l1_entries_for(size, CLUSTER_BITS), CLUSTER / 8);
	if (!l1_clusters)
		l1_clusters = 1;
	clusters = L1_FIRST_CLUSTER + l1_clusters;
	if (ftruncate(fd, (off_t)(clusters * CLUSTER)) < 0)
		return error_errno(err, "cannot write");
	r = write_header(fd, size, l1_clusters, err);
	return r < 0 ? r : write_refcounts(fd, clusters, err);
}

int qcow2_is_empty(int fd, struct error *err)
{
	auto_free char *table = xmalloc(CLUSTER);
	struct qcow2_header header;
	int r = qcow2_read_header(fd, &header, err);
	uint64_t left, offset;

	if (r < 0)
		return r;
	left = (uint64_t)header.l1_entries * 8;
	offset = header.l1_offset;
	while (left) {
		size_t n = left < CLUSTER ? (size_t)left : CLUSTER;

		r = fs_pread_all(fd, table, n, (off_t)offset, err);
		if (r < 0)
			return r;
		if (!fs_all_zero(table, n))
			return 0;
		offset += n;
		left -= n;
	}
	return 1;
}

int qcow2_grow(int fd, uint64_t size, struct error *err)
{
	struct qcow2_header header;
	uint64_t value = htobe64(size);
	int r = qcow2_read_header(fd, &header, err);

	if (r < 0)
		return r;
	if (size > QCOW2_SIZE_MAX || size % SECTOR || size < header.size ||
	    l1_entries_for(size, header.cluster_bits) > header.l1_entries)
		return error_set(
			err, E_TOO_BIG,
			"an overlay cannot grow to %llu bytes, it has to be flattened first",
			(unsigned long long)size);
	r = fs_pwrite_all(fd, &value, sizeof(value), offsetof(struct disk_header, size), err);
	if (r == 0 && fsync(fd) < 0)
		r = error_errno(err, "cannot write");
	return r;
}
