/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#undef error_set /* see __clang_analyzer__ in error.h */
#undef error_errno
#undef error_wrap

/*
 * Control characters become '?': an error line may quote an attacker's name.
 * U+0080 to U+009F (0xC2 0x80..0x9F in UTF-8) are controls, too: U+009B is CSI.
 */
static void make_printable(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (*c < ' ' || *c == 0x7f)
			*c = '?';
		if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f)
			c[0] = c[1] = '?';
	}
}

printf_(3, 0) static void format(char *text, size_t size, const char *fmt, va_list ap)
{
	int n = vsnprintf(text, size, fmt, ap);

	if (n < 0)
		text[0] = '\0';
	make_printable(text);
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code > 0);
	err->code = code;
	va_start(ap, fmt);
	format(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -code;
}

int error_errno(struct error *err, const char *fmt, ...)
{
	int saved = errno ? errno : EIO;
	char what[sizeof(err->text)];
	va_list ap;

	va_start(ap, fmt);
	format(what, sizeof(what), fmt, ap);
	va_end(ap);
	err->code = saved;
	if (snprintf(err->text, sizeof(err->text), "%s: %s", what, strerror(saved)) < 0)
		err->text[0] = '\0';
	return -saved;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
	char context[sizeof(err->text)];
	char old[sizeof(err->text)];
	va_list ap;

	va_start(ap, fmt);
	format(context, sizeof(context), fmt, ap);
	va_end(ap);
	memcpy(old, err->text, sizeof(old));
	old[sizeof(old) - 1] = '\0';
	if (snprintf(err->text, sizeof(err->text), "%s: %s", context, old) < 0)
		err->text[0] = '\0';
	return -err->code;
}

int error_add_line(struct error *err, const char *fmt, ...)
{
	char line[sizeof(err->text)];
	size_t used = strnlen(err->text, sizeof(err->text) - 1);
	va_list ap;

	va_start(ap, fmt);
	format(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (snprintf(err->text + used, sizeof(err->text) - used, "\n%s", line) < 0)
		err->text[used] = '\0';
	return -err->code;
}

int error_exit_status(int code)
{
	switch (code) {
	case E_USAGE:
		return 64;
	case E_NOT_FOUND:
	case E_NOT_RUNNING:
	case E_ALREADY_RUNNING:
		return 2;
	default:
		return 1;
	}
}
