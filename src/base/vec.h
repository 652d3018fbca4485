/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

/*
 * Typed vectors. DEFINE_VEC(names, char *) gives struct names with the public
 * fields items and len, and names_add(), names_release() (frees the array,
 * not what its items point to).
 */

#include <stddef.h>

#include "base/attr.h"
#include "base/mem.h"

#define VEC_INIT                                  \
	{                                         \
		.items = NULL, .len = 0, .cap = 0 \
	}

#define DEFINE_VEC(name, type)                                                      \
	struct name {                                                               \
		type *items;                                                        \
		size_t len;                                                         \
		size_t cap;                                                         \
	};                                                                          \
	unused_ static inline void name##_add(struct name *v, type item)            \
	{                                                                           \
		if (v->len == v->cap) {                                             \
			v->cap = v->cap ? v->cap * 2 : 8;                           \
			v->items = xrealloc(v->items, v->cap, sizeof(v->items[0])); \
		}                                                                   \
		v->items[v->len++] = item;                                          \
	}                                                                           \
	unused_ static inline void name##_release(struct name *v)                   \
	{                                                                           \
		free(v->items);                                                     \
		*v = (struct name)VEC_INIT;                                         \
	}

/* A vector of owned C strings; strings_release() frees them too. */
struct strings {
	char **items;
	size_t len;
	size_t cap;
};

/* Append @s, which the vector owns from now on (NULL is allowed: argv's end). */
void strings_take(struct strings *v, char *s);
/* Append a copy of @s. */
void strings_add(struct strings *v, const char *s);
/* Append a formatted string. */
void strings_addf(struct strings *v, const char *fmt, ...) printf_(2, 3);
/* Sort by byte value. */
void strings_sort(struct strings *v);
void strings_release(struct strings *v);

#define auto_strings cleanup_(strings_release) struct strings

#endif
