/* SPDX-License-Identifier: Apache-2.0 */

/* The header and the L1 table of a qcow2. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/fs.h"
#include "store/qcow2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An overlay of ours for any size that can be is valid and empty. */
static void write_empty(uint64_t size)
{
	auto_fd fd = memfd_create("empty", MFD_CLOEXEC);
	struct error err = ERROR_INIT;
	struct qcow2_header header;

	if (fd < 0)
		abort();
	if (qcow2_write_empty(fd, size, &err) < 0) {
		assert(size % 512);
		return;
	}
	assert(qcow2_read_header(fd, &header, &err) == 0 && header.size == size);
	assert(qcow2_is_empty(fd, &err) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_fd fd = memfd_create("qcow2", MFD_CLOEXEC);
	struct error err = ERROR_INIT;
	struct qcow2_header header;

	if (fd < 0 || fs_pwrite_all(fd, data, size, 0, &err) < 0)
		abort();
	if (qcow2_read_header(fd, &header, &err) < 0) {
		assert(err.code > 0 && err.text[0]);
		return 0;
	}
	assert(header.size <= QCOW2_SIZE_MAX);
	write_empty(header.size);
	(void)!qcow2_is_empty(fd, &err);
	if (qcow2_grow(fd, header.size + 512, &err) == 0) {
		struct qcow2_header grown;

		assert(qcow2_read_header(fd, &grown, &err) == 0);
		assert(grown.size == header.size + 512);
	}
	return 0;
}
