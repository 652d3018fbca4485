/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_STR_H
#define BASE_STR_H

/*
 * Growable strings and buffers.
 *
 * Invariants: ptr is never NULL and ptr[len] is always '\0', so ptr can be
 * handed to anything that wants a C string. Content may hold NUL bytes.
 * Growth aborts when memory runs out; where input comes from outside, the
 * caller checks len against a named limit before adding.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct str {
	char *ptr;
	size_t len;
	size_t cap; /* 0: ptr is the shared empty string */
};

extern char str_empty_[1];
#define STR_INIT                                      \
	{                                             \
		.ptr = str_empty_, .len = 0, .cap = 0 \
	}

/* Borrowed bytes: what parsers read from. */
struct slice {
	const uint8_t *ptr;
	size_t len;
};

/* Free the content; @s is as after STR_INIT. */
void str_release(struct str *s);
/* Empty @s, keeping its memory. */
void str_reset(struct str *s);
/* Make room for @extra more bytes (and the NUL). */
void str_grow(struct str *s, size_t extra);
/* Set the length after writing to ptr directly; @len is within the room. */
void str_set_len(struct str *s, size_t len);
/* Append bytes, a C string, a formatted text, one character. */
void str_add(struct str *s, const void *bytes, size_t n);
void str_adds(struct str *s, const char *text);
void str_addf(struct str *s, const char *fmt, ...) printf_(2, 3);
void str_addc(struct str *s, char c);
/* Remove the first @n bytes. */
void str_consume(struct str *s, size_t n);
/* Remove @n bytes from the end. */
void str_chop(struct str *s, size_t n);
/* The content, now owned by the caller (free()); @s is empty afterwards. */
char *str_detach(struct str *s) must_use_;
/* A new formatted C string, owned by the caller. */
char *str_format(const char *fmt, ...) printf_(1, 2) must_use_;

/* Does @text begin (end) with @part? */
bool str_starts(const char *text, const char *part);
bool str_ends(const char *text, const char *part);
/*
 * Decimal digits and nothing else, at most @max. Return: 0, or -EINVAL
 * (not a number) or -ERANGE, @value untouched.
 */
int str_to_u64(const char *text, uint64_t max, uint64_t *value) must_use_;

#define auto_str cleanup_(str_release) struct str

#endif
