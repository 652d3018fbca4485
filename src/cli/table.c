/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* Characters of UTF-8 text: bytes that continue none. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void table_init(struct table *table, const char *const *headers, size_t columns)
{
	*table = (struct table){ .columns = columns, .cells = VEC_INIT };
	for (size_t i = 0; i < columns; i++)
		strings_add(&table->cells, headers[i]);
}

static void take_cell(struct table *table, char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (*c < ' ' || *c == 0x7f)
			*c = '?';
		if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f) /* U+009B is CSI, too */
			c[0] = c[1] = '?';
	}
	strings_take(&table->cells, text);
}

void table_add(struct table *table, const char *text)
{
	take_cell(table, xstrdup(text));
}

void table_addf(struct table *table, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	table_add(table, text);
}

static size_t column_width(const struct table *table, size_t column)
{
	size_t widest = 0;

	for (size_t i = column; i < table->cells.len; i += table->columns) {
		size_t w = width(table->cells.items[i]);

		widest = w > widest ? w : widest;
	}
	return widest;
}

static void trim_end(struct str *out, size_t start)
{
	while (out->len > start && out->ptr[out->len - 1] == ' ')
		str_chop(out, 1);
}

void table_format(const struct table *table, struct str *out)
{
	auto_free size_t *widths = xcalloc(table->columns, sizeof(*widths));
	size_t start = out->len;

	assert(table->columns && table->cells.len % table->columns == 0);
	for (size_t c = 0; c < table->columns; c++)
		widths[c] = column_width(table, c);
	for (size_t i = 0; table->cells.len > table->columns && i < table->cells.len; i++) {
		size_t c = i % table->columns;
		const char *cell = table->cells.items[i];

		if (i)
			str_addc(out, c ? ' ' : '\n');
		str_adds(out, cell);
		for (size_t w = width(cell); w < widths[c]; w++)
			str_addc(out, ' ');
	}
	trim_end(out, start);
	str_addc(out, '\n');
}

void table_release(struct table *table)
{
	strings_release(&table->cells);
}

void size_add(struct str *out, uint64_t bytes)
{
	static const char *const units[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
	uint64_t unit = 1000;
	size_t i = 0;

	if (bytes < 1000) {
		str_addf(out, "%" PRIu64 " bytes", bytes);
		return;
	}
	while (i + 1 < array_size(units) && bytes / unit >= 1000) {
		unit *= 1000;
		i++;
	}
	uint64_t tenths = bytes / (unit / 10) % 10;

	str_addf(out, "%" PRIu64, bytes / unit);
	if (bytes / unit < 100 && tenths)
		str_addf(out, ".%" PRIu64, tenths);
	str_addf(out, " %s", units[i]);
}
