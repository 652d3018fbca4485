/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

char str_empty_[1];

void str_release(struct str *s)
{
	if (s->cap)
		free(s->ptr);
	*s = (struct str)STR_INIT;
}

void str_reset(struct str *s)
{
	s->len = 0;
	if (s->cap)
		s->ptr[0] = '\0';
}

void str_grow(struct str *s, size_t extra)
{
	size_t need, cap;

	if (__builtin_add_overflow(s->len, extra, &need) || need + 1 == 0)
		abort();
	need++;
	if (need <= s->cap)
		return;
	cap = s->cap < 32 ? 32 : s->cap;
	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	s->ptr = xrealloc(s->cap ? s->ptr : NULL, cap, 1);
	s->cap = cap;
	s->ptr[s->len] = '\0';
}

void str_set_len(struct str *s, size_t len)
{
	assert(len == 0 || len < s->cap);
	s->len = len;
	if (s->cap)
		s->ptr[len] = '\0';
}

void str_add(struct str *s, const void *bytes, size_t n)
{
	if (!n)
		return;
	str_grow(s, n);
	memcpy(s->ptr + s->len, bytes, n);
	str_set_len(s, s->len + n);
}

void str_adds(struct str *s, const char *text)
{
	str_add(s, text, strlen(text));
}

printf_(2, 0) static void add_formatted(struct str *s, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		abort();
	str_grow(s, (size_t)n);
	(void)vsnprintf(s->ptr + s->len, (size_t)n + 1, fmt, ap);
	str_set_len(s, s->len + (size_t)n);
}

void str_addf(struct str *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_formatted(s, fmt, ap);
	va_end(ap);
}

void str_addc(struct str *s, char c)
{
	str_add(s, &c, 1);
}

void str_consume(struct str *s, size_t n)
{
	assert(n <= s->len);
	if (!n)
		return;
	memmove(s->ptr, s->ptr + n, s->len - n);
	str_set_len(s, s->len - n);
}

void str_chop(struct str *s, size_t n)
{
	assert(n <= s->len);
	if (n)
		str_set_len(s, s->len - n);
}

char *str_detach(struct str *s)
{
	char *content = s->cap ? s->ptr : xstrdup("");

	*s = (struct str)STR_INIT;
	return content;
}

char *str_format(const char *fmt, ...)
{
	struct str s = STR_INIT;
	va_list ap;

	va_start(ap, fmt);
	add_formatted(&s, fmt, ap);
	va_end(ap);
	return str_detach(&s);
}

bool str_starts(const char *text, const char *part)
{
	return strncmp(text, part, strlen(part)) == 0;
}

bool str_ends(const char *text, const char *part)
{
	size_t n = strlen(text), m = strlen(part);

	return n >= m && memcmp(text + n - m, part, m) == 0;
}

int str_to_u64(const char *text, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;

	if (!*text)
		return -EINVAL;
	for (const char *c = text; *c; c++)
		if (*c < '0' || *c > '9')
			return -EINVAL;
	for (const char *c = text; *c; c++)
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*c - '0'), &v) || v > max)
			return -ERANGE;
	*value = v;
	return 0;
}
