/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARCHIVE_SEED_H
#define ARCHIVE_SEED_H

/*
 * cloud-init's NoCloud seed: an ISO 9660 file system labelled CIDATA whose root has a few files
 * with exactly these names (Rock Ridge and Joliet).
 */

#include <stddef.h>

#include "base/attr.h"

struct error;

struct seed_file {
	const char *name; /* no '/' */
	const void *bytes;
	size_t len;
};

/*
 * Write it to the empty file @fd. What is written meanwhile beside it has no name, in $TMPDIR. The
 * files are dated 1970: the same content makes the same files.
 */
int seed_write(int fd, const struct seed_file *files, size_t count, struct error *err) must_use_;

#endif
