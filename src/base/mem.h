/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

/*
 * Allocation that does not fail: out of memory ends the program. Sizes that
 * come from outside are checked against a named limit before they get here.
 * The results are owned by the caller and released with free().
 */

#include <stddef.h>

#include "base/attr.h"

/* @n bytes, uninitialised. */
void *xmalloc(size_t n) must_use_;
/* @n elements of @size bytes, zeroed; aborts if the product overflows. */
void *xcalloc(size_t n, size_t size) must_use_;
/* Resize @p to @n elements of @size bytes; aborts if the product overflows. */
void *xrealloc(void *p, size_t n, size_t size) must_use_;
/* A copy of the NUL-terminated @s. */
char *xstrdup(const char *s) must_use_;
/* A copy of the first @n bytes of @s (or up to its NUL), NUL-terminated. */
char *xstrndup(const char *s, size_t n) must_use_;

#endif
