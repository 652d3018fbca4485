/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_OVERLAYS_H
#define TRANSFER_OVERLAYS_H

#include "base/attr.h"
#include "oci/send.h"

struct error;
struct manifest;
struct vm;

/*
 * The overlays of a stacked image, which we keep as files and never read: send those of the VM that
 * came from @origin and add them to @manifest, behind the slices of the disk. @how: as for the
 * disk; its source and known slices are not used. Where @origin has none nothing is done.
 */
int overlays_send(const struct vm *vm, const struct manifest *origin, const struct send *how,
		  struct manifest *manifest, struct error *err) must_use_;

#endif
