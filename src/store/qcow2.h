/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_QCOW2_H
#define STORE_QCOW2_H

/*
 * As much of qcow2 (QEMU's docs/interop/qcow2.txt) as the store needs: to write
 * an empty overlay, to see whether one is still empty, to grow one, and to
 * refuse what we would never have written. Data are QEMU's business.
 */

#include <stdint.h>

#include "base/attr.h"

struct error;

/* Virtual bytes that an overlay of ours can be given: 65,535 GB of `create` and a little. */
#define QCOW2_SIZE_MAX (UINT64_C(1) << 46)

struct qcow2_header {
	uint64_t size; /* virtual, in bytes */
	uint64_t l1_offset;
	uint32_t l1_entries;
	uint32_t cluster_bits;
};

/*
 * Read and check the header behind @fd. E_INVALID: not qcow2 version 3, damaged, or of a kind that
 * we never make: with a backing file, an external data file, encryption, internal snapshots,
 * unknown incompatible features.
 */
int qcow2_read_header(int fd, struct qcow2_header *header, struct error *err) must_use_;
/* Write an empty qcow2 version 3 of @size virtual bytes, without a backing name, to the empty @fd.
 */
int qcow2_write_empty(int fd, uint64_t size, struct error *err) must_use_;
/* Return: 1 if the qcow2 behind @fd holds no data of its own, 0 if it does, or error. */
int qcow2_is_empty(int fd, struct error *err) must_use_;
/*
 * Grow the virtual size to @size and make that durable. The room that qcow2_write_empty() left in
 * the L1 table is at least 4 TiB; beyond: E_TOO_BIG, nothing is changed.
 */
int qcow2_grow(int fd, uint64_t size, struct error *err) must_use_;

#endif
