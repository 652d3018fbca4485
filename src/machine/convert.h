/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MACHINE_CONVERT_H
#define MACHINE_CONVERT_H

/*
 * Foreign disk images to raw, and chains of our own layers to one file. The
 * work is qemu-img's, which parses an attacker's bytes: it runs in a sandbox
 * that holds nothing but the descriptors given here.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct plan_layer;

/* The format by its magic, as qemu-img calls it ("raw" where there is none): a static string. */
int convert_detect(int fd, const char **format, struct error *err) must_use_;
/*
 * Write the image behind @from (read-only) as sparse raw to the empty file @to, at most
 * @limit virtual bytes (E_TOO_BIG). The virtual size is returned in @size. An image that
 * refers to another file (backing file, data file, VMDK extents) is E_INVALID.
 */
int convert_to_raw(int from, int to, uint64_t limit, uint64_t *size, struct error *err) must_use_;
/* The same from a chain of our own layers, top first. */
int convert_chain_to_raw(const struct plan_layer *layers, size_t count, int to,
			 struct error *err) must_use_;
/*
 * Merge the qcow2 layers[0..count-2] above the last one (kept as it is) into the empty file
 * @to, a qcow2 without a backing name whose content overlays layers[count-1].
 */
int convert_merge(const struct plan_layer *layers, size_t count, int to,
		  struct error *err) must_use_;

#endif
