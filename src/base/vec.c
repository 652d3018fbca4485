/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

void strings_take(struct strings *v, char *s)
{
	if (v->len == v->cap) {
		v->cap = v->cap ? v->cap * 2 : 8;
		v->items = xrealloc(v->items, v->cap, sizeof(v->items[0]));
	}
	v->items[v->len++] = s;
}

void strings_add(struct strings *v, const char *s)
{
	strings_take(v, xstrdup(s));
}

void strings_addf(struct strings *v, const char *fmt, ...)
{
	struct str s = STR_INIT;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	str_grow(&s, (size_t)n);
	va_start(ap, fmt);
	(void)vsnprintf(s.ptr, (size_t)n + 1, fmt, ap);
	va_end(ap);
	str_set_len(&s, (size_t)n);
	strings_take(v, str_detach(&s));
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void strings_sort(struct strings *v)
{
	if (v->len)
		qsort(v->items, v->len, sizeof(v->items[0]), compare);
}

void strings_release(struct strings *v)
{
	for (size_t i = 0; i < v->len; i++)
		free(v->items[i]);
	free(v->items);
	*v = (struct strings)VEC_INIT;
}
