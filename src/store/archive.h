/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_ARCHIVE_H
#define STORE_ARCHIVE_H

/*
 * VMs as archives (".tvm", contract 8): Apple's container (store/apple_container.h) with the files
 * config.json, disk.img and nvram.bin (store/apple_archive.h), and what fences the VM's network in
 * where it has that (store/network_copy.h; Tart, which archives every file of a VM, takes those
 * along). The disk is its plain content,
 * whatever chain it is in the store; disk.json never comes or goes. An archive is only ever
 * read, or written, from its beginning to its end, so that it can be a stream.
 */

#include <stdatomic.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct home;

/* Bytes of an nvram.bin; macOS' have 32 MiB. */
enum { ARCHIVE_NVRAM_MAX = 128 * 1024 * 1024 };

/* How far it is, for another thread to read: bytes of the disk, or of the archive that is read. */
struct archive_progress {
	_Atomic uint64_t done, total; /* total: 0 where nobody knows */
};

/*
 * Write the stopped VM or cached image @name to the file @path, which appears when it is whole;
 * where @path is a device or a FIFO, or NULL, to the stream itself (@fd). The VM is locked
 * meanwhile. What fails is `VM export failed: ...`; E_NOT_FOUND and E_RUNNING (`VM "x" is running`)
 * as elsewhere.
 */
int vm_export(const struct home *home, const char *name, const char *path, int fd,
	      struct archive_progress *progress, struct error *err) must_use_;

/*
 * Make the VM @name of the archive in the file @path, or, where that is NULL, of the stream @fd.
 * It gets another MAC where some local VM has its own; a stopped VM of that name is replaced, a
 * running one is E_RUNNING. All or nothing. What fails is `VM import failed: ...`.
 */
int vm_import(const struct home *home, const char *name, const char *path, int fd,
	      struct archive_progress *progress, struct error *err) must_use_;

#endif
