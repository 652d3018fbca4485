/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/overlays.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "oci/manifest.h"
#include "store/disk.h"
#include "store/vm.h"

static int read_file(void *arg, void *bytes, size_t len, uint64_t offset, struct error *err)
{
	return fs_pread_all(*(const int *)arg, bytes, len, (off_t)offset, err);
}

/* All of it may be data: what a hole of such a file means is not ours to know. */
static int all_data(void *arg, uint64_t offset, uint64_t *start, uint64_t *end, struct error *err)
{
	(void)arg;
	(void)err;
	*start = offset;
	*end = UINT64_MAX;
	return 1;
}

static void append(struct manifest *manifest, const struct disk_slice *slices, size_t count)
{
	manifest->slices = xrealloc(manifest->slices, manifest->slice_count + count,
				    sizeof(manifest->slices[0]));
	memcpy(&manifest->slices[manifest->slice_count], slices, count * sizeof(slices[0]));
	manifest->slice_count += count;
}

/* Return: how many slices it has, or error. */
static int send_one(const struct vm *vm, const char *file, const struct overlay *overlay,
		    const struct send *how, struct manifest *manifest, size_t *count,
		    struct error *err)
{
	auto_fd fd = disk_open_file(vm, file, O_RDONLY, err);
	struct send_source source = {
		.size = overlay->size, .read = read_file, .next_data = all_data, .arg = &fd
	};
	struct send send = *how;
	struct disk_slice *slices;
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != overlay->size)
		return error_set(err, E_INVALID, "%s of VM \"%s\" is not the one that it came with",
				 file, vm->name);
	send.source = &source;
	send.known = overlay->slices;
	send.known_count = overlay->count;
	r = send_disk(&send, &slices, count, err);
	if (r < 0)
		return r;
	append(manifest, slices, *count);
	free(slices);
	return 0;
}

/* Now that the slices stay where they are. */
static void point_into(struct manifest *manifest)
{
	size_t at = manifest->disk_slices;

	for (size_t i = 0; i < manifest->overlay_count; i++) {
		manifest->overlays[i].slices = &manifest->slices[at];
		at += manifest->overlays[i].count;
	}
}

int overlays_send(const struct vm *vm, const struct manifest *origin, const struct send *how,
		  struct manifest *manifest, struct error *err)
{
	if (!origin->overlay_count)
		return 0;
	manifest->overlays = xcalloc(origin->overlay_count, sizeof(manifest->overlays[0]));
	for (size_t i = 0; i < origin->overlay_count; i++) {
		auto_free char *file = str_format("overlay-%zu.asif", i + 1);
		struct overlay *overlay = &manifest->overlays[i];
		int r;

		overlay->size = origin->overlays[i].size;
		overlay->file = origin->overlays[i].file;
		manifest->overlay_count++;
		r = send_one(vm, file, &origin->overlays[i], how, manifest, &overlay->count, err);
		if (r < 0)
			return r;
	}
	point_into(manifest);
	manifest->has_disk_file = origin->has_disk_file;
	manifest->disk_file = origin->disk_file;
	manifest->block_size = origin->block_size;
	return 0;
}
