/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_SANDBOX_H
#define MACHINE_SANDBOX_H

/*
 * Runs a program that parses an attacker's bytes: it can open the files given here and
 * what its dynamic linker needs, and nothing else; it has no network, starts no
 * process, signals nobody, and its processor time, memory and output are
 * limited (docs/decisions/sandbox.md).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct str;

/* The first file is the program's descriptor 3, the next 4, ...: /proc/self/fd/3, ... */
enum { SANDBOX_FIRST_FD = 3, SANDBOX_FILES_MAX = 80 };

struct sandbox_file {
	int fd; /* open for writing where @write */
	bool write;
};

struct sandbox_spec {
	const char *const *argv; /* NULL-terminated; argv[0] is an absolute path */
	const struct sandbox_file *files;
	size_t file_count;
	uint64_t cpu_seconds;
	uint64_t memory; /* bytes of address space */
	uint64_t file_size; /* bytes up to which a file may grow */
	uint64_t timeout_ms;
};

/*
 * Run to the end, collecting at most @limit bytes of stdout and what of stderr comes first
 * (both may be NULL). Return: the exit status (128 + signal); or error: ENOSYS
 * where the kernel has no Landlock, and what process_run() returns.
 */
int sandbox_run(const struct sandbox_spec *spec, struct str *out, size_t limit, struct str *errors,
		struct error *err) must_use_;

#endif
