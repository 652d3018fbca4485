/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_DISK_H
#define STORE_DISK_H

/*
 * The chain of a VM's disk (decision 2), as it stands in disk.json:
 *
 *   {"version":1,"size":20000000000,"layers":[
 *      {"file":"disk.img","format":"qcow2"},
 *      {"file":"layer-<32 hex>","format":"qcow2"},
 *      {"file":"layer-<32 hex>","format":"raw","length":20000000000}]}
 *
 * Top first, raw only at the end. Absent: disk.img alone, raw. The file is
 * written only by us and never imported, pulled or pushed; it is checked all
 * the same. Layer names are a fixed form, so none can name a host file, and
 * the backing name inside a qcow2 header is never followed by anybody.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "store/qcow2.h"

struct error;
struct vm;

enum { DISK_LAYERS_MAX = 64, DISK_LAYERS_MERGE = 8, DISK_NAME = sizeof("layer-") + 32 };

struct disk_layer {
	char file[DISK_NAME];
	bool qcow2;
	uint64_t length; /* of a frozen raw layer's file, in bytes; 0: not recorded */
};
struct disk_chain {
	uint64_t size; /* virtual size in bytes */
	struct disk_layer layers[DISK_LAYERS_MAX]; /* top first */
	size_t count;
};

/*
 * Read the chain; finishes or reverts a freeze that a crash interrupted
 * (@vm's .lock is held). For a raw disk, size is the file's.
 */
int disk_read(const struct vm *vm, struct disk_chain *chain, struct error *err) must_use_;
int disk_parse(const void *bytes, size_t len, struct disk_chain *chain,
	       struct error *err) must_use_;
/* The same without repair and lock, for display: what disk.json says, unchecked. */
int disk_peek(const struct vm *vm, struct disk_chain *chain, struct error *err) must_use_;
/* The virtual size only. */
int disk_read_size(const struct vm *vm, uint64_t *size, struct error *err) must_use_;

/*
 * Open every layer, top first, into fds[]: the top read-write (or
 * read-only), the rest read-only. Each must be a regular file of the kind
 * that the chain says (qcow2 magic, raw size), else E_INVALID
 * naming the file. On error nothing stays open.
 */
int disk_open_layers(const struct vm *vm, const struct disk_chain *chain, bool read_only,
		     int fds[DISK_LAYERS_MAX], struct error *err) must_use_;

/*
 * For a VM that nobody runs: wait until nobody writes to its disk. The QEMU of a `run` that was
 * killed lives on for some milliseconds after the running lock has gone. E_RUNNING if somebody
 * still does after a few seconds: a QEMU that was started by hand.
 */
int disk_wait_unused(const struct vm *vm, struct error *err) must_use_;

/*
 * Freeze: make the present top a frozen layer under a new empty overlay.
 * For a running VM the caller (its `run`) passes @switch_over, called
 * when all names are in place, to make QEMU write to the overlay
 * (@overlay is open read-write and stays the caller's only if it dups it);
 * if it fails everything is put back, so it may fail only where QEMU
 * certainly still writes to the old top; a switch whose outcome is unknown
 * is a success (the chain with the overlay on top holds all writes either way
 * once QEMU is dead). @vm's .lock is held.
 */
typedef int (*disk_switch_fn)(void *arg, int overlay, struct error *err);
int disk_freeze(const struct vm *vm, struct disk_chain *chain, disk_switch_fn switch_over,
		void *arg, struct error *err) must_use_;

/*
 * Where more than DISK_LAYERS_MERGE layers have come together, write the frozen qcow2 layers above
 * the last one anew as one layer (qemu-img in its sandbox). The old files are not touched, only our
 * names of them go. For a VM that nobody runs; @chain is from disk_read() and is brought up to
 * date.
 */
int disk_merge_if_deep(const struct vm *vm, struct disk_chain *chain, struct error *err) must_use_;

/*
 * Put @raw, a descriptor of the file "disk.img.next" in the VM's directory, durably and in one step
 * in the place of the whole chain. For a VM that nobody runs; @vm's .lock is held.
 */
int disk_commit_raw(const struct vm *vm, int raw, struct disk_chain *chain,
		    struct error *err) must_use_;
/* Turn the chain into a raw disk.img; the same conditions. */
int disk_flatten(const struct vm *vm, struct disk_chain *chain, struct error *err) must_use_;

/* disk.json is written atomically; a chain that is disk.img alone, raw, has none. */
int disk_write(const struct vm *vm, const struct disk_chain *chain, struct error *err) must_use_;
/* An empty overlay of @size bytes as the new file @name. Return: fd. */
int disk_make_overlay(const struct vm *vm, const char *name, uint64_t size,
		      struct error *err) must_use_;
/* Open one file of a VM's disk, which must be a regular file. Return: fd. */
int disk_open_file(const struct vm *vm, const char *name, int flags, struct error *err) must_use_;

#endif
