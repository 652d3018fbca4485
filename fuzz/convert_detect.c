/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/fs.h"
#include "machine/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* The bytes are a disk image; qemu-img is not run. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_fd fd = memfd_create("image", MFD_CLOEXEC);
	struct error err = ERROR_INIT;
	const char *format = NULL;
	int r = fs_pwrite_all(fd, bytes, len, 0, &err);

	if (r == 0)
		r = convert_detect(fd, &format, &err);
	/* a format, or a reason in one line */
	if ((r == 0) != (format != NULL) || (r < 0) != (err.text[0] != '\0'))
		__builtin_trap();
	return 0;
}
