/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_RESOURCES_H
#define CMD_RESOURCES_H

/* How many CPUs and how much memory a VM is given. */

#include <stdint.h>

#include "base/attr.h"

struct error;

enum { RESOURCES_CPUS_MIN = 1, RESOURCES_MEMORY_MIN = 1024 * 1024 /* bytes */ };

/* @given into *cpus. Fewer than @min is E_FAILED with the contract's text (2.4). */
int resources_cpus(uint64_t given, uint64_t min, uint32_t *cpus, struct error *err) must_use_;
/* @mib MiB into *bytes; @min in bytes, likewise. More than any VM can have is E_TOO_BIG. */
int resources_memory(uint64_t mib, uint64_t min, uint64_t *bytes, struct error *err) must_use_;

#endif
