/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_QCOW2_MAP_H
#define STORE_QCOW2_MAP_H

/*
 * Where a qcow2 keeps its clusters (QEMU's docs/interop/qcow2.txt, "Cluster mapping"). Its tables
 * are a guest's for all that we know: nothing is followed that does not lie in the file, and what
 * QEMU would not have written for us (compressed clusters, reserved bits) is E_INVALID.
 *
 * The L1 table is held in memory, L2 tables are read as they are needed and not kept: looking up
 * changes nothing, several threads may do it at once.
 */

#include <stdint.h>

#include "base/attr.h"

struct error;

/* Bytes of an L1 table: enough for QCOW2_SIZE_MAX in our clusters of 64 KiB. */
enum { QCOW2_MAP_L1_MAX = 1024 * 1024 };

struct qcow2_map {
	int fd; /* borrowed */
	uint64_t size; /* virtual, in bytes */
	uint64_t file_size;
	uint32_t cluster_bits;
	uint64_t *l1; /* as in the file: big-endian */
	uint64_t l1_entries;
};
#define QCOW2_MAP_INIT \
	{              \
		0      \
	}

enum qcow2_kind {
	QCOW2_UNALLOCATED, /* the layer below has it */
	QCOW2_ZERO,
	QCOW2_DATA,
};
struct qcow2_extent {
	enum qcow2_kind kind;
	uint64_t length; /* in bytes */
	uint64_t host; /* of QCOW2_DATA: where it lies in the file */
};

/* Read and check the header and the L1 table behind @fd, which stays open as long as @map. */
int qcow2_map_open(int fd, struct qcow2_map *map, struct error *err) must_use_;
/*
 * What the layer holds from the virtual @offset on: at least one byte, at most @len, of one kind
 * and in one piece. @offset + @len is within the size, @len is not 0. Data begin in the file,
 * but their last cluster may end beyond it: there it is zeroes.
 */
int qcow2_map_find(const struct qcow2_map *map, uint64_t offset, uint64_t len,
		   struct qcow2_extent *extent, struct error *err) must_use_;
void qcow2_map_release(struct qcow2_map *map);
#define auto_qcow2_map cleanup_(qcow2_map_release) struct qcow2_map

#endif
