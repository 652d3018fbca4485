/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_TRANSFER_H
#define CMD_TRANSFER_H

/* What needs a registry is done by linzer-oci. */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct invocation;

/* linzer-oci in our place, with our command line. Returns only where it cannot be run. */
int transfer_exec(struct invocation *inv, struct error *err) must_use_;
/*
 * Pull the image @name, as typed, into the cache; what pull prints is printed. Return: its exit
 * status (it has said why, if it is not 0), or error.
 */
int transfer_pull(const struct invocation *inv, const char *name, bool insecure,
		  uint64_t concurrency, struct error *err) must_use_;

#endif
