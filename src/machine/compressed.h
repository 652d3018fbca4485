/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_COMPRESSED_H
#define MACHINE_COMPRESSED_H

/* Disk images as distributions compress them: gzip, bzip2, xz, zstd. */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

/* Does the file behind @fd begin like one of them? */
bool compressed_detect(int fd);
/*
 * Write what @from is compressed from to the empty file @to, open for writing, at most @limit
 * bytes (E_TOO_BIG). linzer-archive does it, in a sandbox that holds these two files.
 */
int compressed_expand(int from, int to, uint64_t limit, struct error *err) must_use_;

#endif
