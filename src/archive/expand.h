/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARCHIVE_EXPAND_H
#define ARCHIVE_EXPAND_H

/* One compressed file. */

#include <stdint.h>

#include "base/attr.h"

struct error;

/*
 * Write to the empty file @to what the file @from is compressed from by gzip, bzip2, xz or zstd:
 * at most @limit bytes (E_TOO_BIG); pages of zeroes become holes.
 */
int expand(int from, int to, uint64_t limit, struct error *err) must_use_;

#endif
