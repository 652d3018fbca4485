/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_RETAG_H
#define TRANSFER_RETAG_H

/* More names for an image that is in a registry, without its bytes passing through here. */

#include "base/attr.h"
#include "transfer/targets.h"

struct error;
struct invocation;
struct oci_name;
struct push_args;

/* push of a cached image (contract 2.12, "lightweight push"). */
int retag_cached(const struct invocation *inv, const struct push_args *args,
		 const struct targets *targets, struct error *err) must_use_;

#endif
