/* SPDX-License-Identifier: Apache-2.0 */

/* A manifest, which comes from a registry: what is accepted adds up, and reads the same once it
 * was written. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "oci/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Slices of one file, one behind the other. */
static void check_file(const struct disk_slice *slices, size_t count, uint64_t size)
{
	uint64_t at = 0;

	assert(count > 0);
	for (size_t i = 0; i < count; i++) {
		assert(slices[i].offset == at && slices[i].length > 0 && slices[i].blob.size > 0);
		at += slices[i].length;
	}
	assert(at == size && size <= MANIFEST_DISK_MAX);
}

static void check(const struct manifest *m)
{
	size_t slices = m->disk_slices;

	check_file(m->slices, m->disk_slices, m->disk_size);
	for (size_t i = 0; i < m->overlay_count; i++) {
		assert(m->overlays[i].slices == m->slices + slices);
		slices += m->overlays[i].count;
		check_file(m->overlays[i].slices, m->overlays[i].count, m->overlays[i].size);
	}
	assert(slices == m->slice_count && slices <= MANIFEST_SLICES_MAX);
	assert(m->vm_config.size <= MANIFEST_CONFIG_MAX);
	assert(m->nvram.size <= MANIFEST_SMALL_BLOB_MAX);
	assert(manifest_compressed_size(m) >= m->slice_count);
	for (const char *c = m->upload_time; *c; c++)
		assert(*c >= ' ' && *c <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_manifest m = MANIFEST_INIT, again = MANIFEST_INIT;
	auto_str one = STR_INIT, two = STR_INIT;
	struct error err = ERROR_INIT;

	if (manifest_parse(data, size, &m, &err) < 0) {
		assert(err.code > 0 && err.text[0] && !m.slices);
		return 0;
	}
	check(&m);
	manifest_format(&m, &one);
	if (one.len > MANIFEST_MAX)
		return 0;
	if (manifest_parse(one.ptr, one.len, &again, &err) < 0)
		abort();
	check(&again);
	assert(again.disk_size == m.disk_size && again.overlay_count == m.overlay_count);
	manifest_format(&again, &two);
	assert(one.len == two.len && memcmp(one.ptr, two.ptr, one.len) == 0);
	return 0;
}
