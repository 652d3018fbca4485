/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

/*
 * Text tables (contract 2.6): left-aligned, every column as wide as its widest cell, one space
 * between columns, the whole trimmed and ended by one newline. A table
 * without rows is an empty line.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/vec.h"

struct str;

struct table {
	size_t columns;
	struct strings cells; /* row by row, the header first */
};

/* @headers: @columns names. */
void table_init(struct table *table, const char *const *headers, size_t columns);
/* The next cell, row by row. Control bytes become '?'. */
void table_add(struct table *table, const char *text);
void table_addf(struct table *table, const char *fmt, ...) printf_(2, 3);
void table_format(const struct table *table, struct str *out);
void table_release(struct table *table);
#define auto_table cleanup_(table_release) struct table

/* Bytes as a person reads them, decimal units: "512 bytes", "1.5 MB", "20 GB". */
void size_add(struct str *out, uint64_t bytes);

#endif
