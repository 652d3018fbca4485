/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_MEMORY_H
#define RUN_MEMORY_H

/*
 * The guest's memory: a file without a name, shared with QEMU and with what serves folders. So it
 * can be saved without QEMU.
 */

#include <stdint.h>

#include "base/attr.h"

struct error;
struct identity;

/* So much QEMU gives to a guest that is to have @size bytes: whole pages, of each kind of guest. */
static inline uint64_t memory_size(uint64_t size)
{
	return (size + 0x1fff) & ~UINT64_C(0x1fff);
}
/* @size bytes of zeroes that the engine may open as @identity. Return: fd. */
int memory_make(const struct identity *identity, uint64_t size, struct error *err) must_use_;

#endif
