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

enum { BLOCK_NBD_WAIT = 30 }; /* seconds that a guest waits for a lost NBD server */

struct block_node {
	const char *name;
	const char *backing; /* node name; NULL: none */
	int64_t fdset; /* where the file is; of an NBD disk the number of its directory's descriptor
			*/
	bool qcow2;
	bool device; /* the file is a block device */
	bool read_only;
	const struct plan_disk *disk; /* caching, sync and NBD; NULL: the defaults */
	const char *tls; /* id of the credentials for an NBD server; NULL: none */
};

/* A format node on a file node called "<name>.file"; the caller's. */
json_t *block_node_json(const struct block_node *node) must_use_;

#endif
