/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_PARTITION_H
#define RUN_PARTITION_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

/*
 * Does a raw disk hold all that its partition table speaks of? A copy that was
 * cut short would boot and then lose data; better to say so first. Only sizes
 * are looked at: GPT by the last usable block (UEFI 2.10, 5.3.2), MBR by its
 * four entries. A disk without a table is fine, and so is a larger one.
 *
 * @head: the first @len bytes of the disk (1,024 say it all); @size: its size.
 * Return: 0, or E_INVALID.
 */
int partition_check(const uint8_t *head, size_t len, uint64_t size, struct error *err) must_use_;

#endif
