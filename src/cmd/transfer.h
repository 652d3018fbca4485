/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRANSFER_H
#define CMD_TRANSFER_H

/* What needs a registry is done by linzer-oci, which is run as a child. */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct invocation;

/* Pull the image @name, as typed, into the cache; what pull prints is printed. */
int transfer_exec_pull(struct invocation *inv, const char *name, bool insecure,
		       uint64_t concurrency, struct error *err) must_use_;

#endif
