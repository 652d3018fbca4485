/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_BLOCK_H
#define MACHINE_BLOCK_H

/*
 * Block nodes as QEMU's JSON, for the command line (-blockdev takes it) and
 * for blockdev-add alike.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct plan_disk;

struct block_node {
	const char *name;
	const char *backing; /* node name; NULL: none */
	int64_t fdset; /* where the file is */
	bool qcow2;
	bool read_only;
	const struct plan_disk *disk; /* caching and sync; NULL: the defaults */
};

/* A format node on a file node called "<name>.file"; the caller's. */
json_t *block_node_json(const struct block_node *node) must_use_;

#endif
