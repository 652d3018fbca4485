/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * No image header is ever believed: every node names its driver, and a qcow2
 * node its backing node or null, so that QEMU neither probes a format nor
 * follows a name that a guest or a registry wrote.
 *
 * Shared layers are read-only on both nodes and on the descriptor. One
 * fdset holds one descriptor: with two, the reopen of a commit makes QEMU lock
 * against itself and abort (tried.md 1).
 *
 * An NBD server is reached through a socket of ours in a directory that QEMU has a descriptor of,
 * and not by a connected descriptor: QEMU closes that when the server is lost, and would then take
 * whatever got its number for the server's new connection (7.2, block/nbd.c).
 */

#include "machine/block.h"

#include <inttypes.h>
#include <stdio.h>

#include "machine/plan.h"

enum { NAME_MAX_LENGTH = 31, FDSET_PATH = sizeof("/dev/fdset/-9223372036854775808") };

static void set(json_t *object, const char *key, json_t *value)
{
	(void)json_object_set_new(object, key, value);
}

/*
 * SYNC_FULL and SYNC_FSYNC are the same here: a guest's flush is an
 * fdatasync(), and Linux has no weaker one. The host's page cache
 * stays in use unless caching was switched off.
 */
static json_t *cache_json(const struct plan_disk *disk)
{
	json_t *cache = json_object();

	set(cache, "direct", json_boolean(disk && disk->caching == CACHING_UNCACHED));
	set(cache, "no-flush", json_boolean(disk && disk->sync == SYNC_NONE));
	return cache;
}

/* What both the file node and the format node carry. */
static void set_common(json_t *object, const struct block_node *node)
{
	set(object, "read-only", json_boolean(node->read_only));
	set(object, "cache", cache_json(node->disk));
	set(object, "discard", json_string(node->read_only ? "ignore" : "unmap"));
}

static json_t *file_json(const struct block_node *node)
{
	json_t *file = json_object();
	char path[FDSET_PATH], name[NAME_MAX_LENGTH + 1];

	(void)snprintf(path, sizeof(path), "/dev/fdset/%" PRId64, node->fdset);
	(void)snprintf(name, sizeof(name), "%s.file", node->name);
	set(file, "driver", json_string(node->device ? "host_device" : "file"));
	set(file, "node-name", json_string(name));
	set(file, "filename", json_string(path));
	set_common(file, node);
	return file;
}

static json_t *nbd_json(const struct block_node *node)
{
	const struct plan_nbd *nbd = node->disk->nbd;
	json_t *file = json_object(), *server = json_object();
	char path[FDSET_PATH], name[NAME_MAX_LENGTH + 1];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/nbd", (int)node->fdset);
	(void)snprintf(name, sizeof(name), "%s.file", node->name);
	set(server, "type", json_string("unix"));
	set(server, "path", json_string(path));
	set(file, "driver", json_string("nbd"));
	set(file, "node-name", json_string(name));
	set(file, "server", server);
	set(file, "export", json_string(nbd->export));
	set(file, "reconnect-delay", json_integer(BLOCK_NBD_WAIT));
	if (node->tls) {
		set(file, "tls-creds", json_string(node->tls));
		set(file, "tls-hostname", json_string(nbd->tls_name));
	}
	set_common(file, node);
	return file;
}

json_t *block_node_json(const struct block_node *node)
{
	json_t *object = json_object();

	set(object, "driver", json_string(node->qcow2 ? "qcow2" : "raw"));
	set(object, "node-name", json_string(node->name));
	set_common(object, node);
	/* blocks of zeroes become holes: disks stay thin */
	if (node->disk && !node->read_only)
		set(object, "detect-zeroes", json_string("unmap"));
	if (node->qcow2)
		set(object, "backing", node->backing ? json_string(node->backing) : json_null());
	set(object, "file", node->disk && node->disk->nbd ? nbd_json(node) : file_json(node));
	return object;
}

json_t *qemu_overlay_node(const struct plan_disk *disk, const char *overlay, int64_t fdset)
{
	struct block_node node = {
		.name = overlay,
		.fdset = fdset,
		.qcow2 = true,
		.disk = disk,
	};

	return block_node_json(&node);
}

json_t *qemu_snapshot(const char *node, const char *overlay)
{
	json_t *arguments = json_object();

	set(arguments, "node", json_string(node));
	set(arguments, "overlay", json_string(overlay));
	return arguments;
}
