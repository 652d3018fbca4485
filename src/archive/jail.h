/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ARCHIVE_JAIL_H
#define ARCHIVE_JAIL_H

#include <stdint.h>

#include "base/attr.h"

struct error;

struct jail_limits {
	uint64_t file_size; /* bytes up to which a file may grow */
	uint64_t memory; /* bytes of address space */
	uint64_t cpu_seconds;
};

/*
 * Lock this process in, for good, before it speaks to a server: no file can be made, opened for
 * writing, removed or executed, and only the system's own (libraries, names, certificates) can be
 * read; what it has open for writing grows to @file_size bytes at most. Root is refused.
 */
int jail_shut_files(uint64_t file_size, struct error *err) must_use_;
/*
 * Lock this process in, for good, before it reads an attacker's archive: it can make, open and
 * remove directories, regular files and links beneath the directory @dir, which becomes the current
 * one, and nothing else anywhere; no device, no set-user-ID bit, no socket, no other program, no
 * signal to anybody. What is open stays so. Root is refused: whoever starts us has another user for
 * it.
 */
int jail_enter(int dir, const struct jail_limits *limits, struct error *err) must_use_;

#endif
