/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_IMAGE_FORMAT_H
#define MACHINE_IMAGE_FORMAT_H

/*
 * What a foreign disk image is, from its own bytes: the magic decides, no name
 * does. What in the header refers to another file, or says that the end of the
 * file is missing, is refused here.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

struct image_format {
	const char *name; /* as QEMU's driver is called */
	bool has_backing; /* the driver takes a "backing" option */
	bool has_check; /* `qemu-img check` knows it */
};

/* Where no magic is. */
extern const struct image_format image_format_raw;

/*
 * The format and the length in bytes of the image behind @fd, a regular file.
 * E_INVALID: no regular file, refers to another file, is cut off, or of a kind
 * that is known and not supported.
 */
int image_format_detect(int fd, const struct image_format **format, uint64_t *file_size,
			struct error *err) must_use_;

#endif
