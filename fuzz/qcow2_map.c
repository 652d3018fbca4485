/* SPDX-License-Identifier: Apache-2.0 */

/* The tables of a qcow2: a walk ends, and never leads outside the file. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/fs.h"
#include "store/qcow2_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct qcow2_map *map, const struct qcow2_extent *extent, uint64_t len)
{
	assert(extent->length > 0 && extent->length <= len);
	assert(extent->kind == QCOW2_UNALLOCATED || extent->kind == QCOW2_ZERO ||
	       extent->kind == QCOW2_DATA);
	if (extent->kind == QCOW2_DATA) {
		uint64_t cluster = UINT64_C(1) << map->cluster_bits;

		assert(extent->host - extent->host % cluster < map->file_size);
		assert(extent->length <= map->size);
	}
}

/* In questions of at most @len bytes. */
static void walk(const struct qcow2_map *map, uint64_t len)
{
	uint64_t offset = 0;

	while (offset < map->size) {
		uint64_t n = map->size - offset < len ? map->size - offset : len;
		struct error err = ERROR_INIT;
		struct qcow2_extent extent;

		if (qcow2_map_find(map, offset, n, &extent, &err) < 0) {
			assert(err.code > 0 && err.text[0]);
			offset += map->size / 1000 + 1; /* and on behind it */
			continue;
		}
		check(map, &extent, n);
		offset += extent.length;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_fd fd = memfd_create("qcow2", MFD_CLOEXEC);
	auto_qcow2_map map = QCOW2_MAP_INIT;
	struct error err = ERROR_INIT;

	if (fd < 0 || fs_pwrite_all(fd, data, size, 0, &err) < 0)
		abort();
	if (qcow2_map_open(fd, &map, &err) < 0) {
		assert(err.code > 0 && err.text[0] && !map.l1);
		return 0;
	}
	assert(map.file_size == size && map.l1_entries * 8 <= size);
	walk(&map, UINT64_MAX);
	walk(&map, map.size / 1000 + 1);
	return 0;
}
