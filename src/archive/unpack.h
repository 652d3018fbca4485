/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARCHIVE_UNPACK_H
#define ARCHIVE_UNPACK_H

/*
 * A foreign tar archive to files. Whatever it holds, nothing comes to be outside of the directory,
 * and in there only directories, regular files, hard links among them, and symbolic links, which
 * are not followed. An archive that wants anything else is refused.
 */

#include <stdint.h>

#include "base/attr.h"

struct error;

#define UNPACK_BYTES_MAX (UINT64_C(16) << 30) /* of all files together */
enum {
	UNPACK_ENTRIES_MAX = 1000 * 1000,
	UNPACK_PATH_MAX = 1024, /* bytes of a name */
	UNPACK_DEPTH_MAX = 64, /* directories in each other */
};

/*
 * Unpack the tar behind @archive (as it is, or compressed by gzip, bzip2, xz, lzma, lz4 or zstd)
 * into the empty directory behind @dir. The calling process is locked in for that (jail.h): it can
 * do nothing else any more. Files get their times (but symbolic links) and, for the ones who may
 * read, write and execute them, their modes; the owner may always do what a person needs to remove
 * them. After an error, which is E_INVALID or E_TOO_BIG where the archive is at fault, a part of it
 * is there.
 */
int unpack(int archive, int dir, struct error *err) must_use_;

#endif
