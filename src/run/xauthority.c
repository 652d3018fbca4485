/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An entry is a family, and four strings with their lengths before them: address, number of the
 * display, name and data of the cookie. All numbers have two bytes, the higher one first.
 */

#include "run/xauthority.h"

#include <stdint.h>
#include <string.h>

#include "base/str.h"

/* X.h, Xauth.h */
enum { INTERNET = 0, INTERNET6 = 6, LOCAL = 256, WILD = 65535 };

struct field {
	const char *text;
	size_t len;
};

struct entry {
	unsigned family;
	struct field address, number, name, data;
};

struct input {
	const char *at, *end;
};

static bool read_number(struct input *in, unsigned *number)
{
	if (in->end - in->at < 2)
		return false;
	*number = (unsigned)(uint8_t)in->at[0] << 8 | (uint8_t)in->at[1];
	in->at += 2;
	return true;
}

static bool read_field(struct input *in, struct field *field)
{
	unsigned len;

	if (!read_number(in, &len) || (size_t)(in->end - in->at) < len)
		return false;
	*field = (struct field){ in->at, len };
	in->at += len;
	return true;
}

static bool read_entry(struct input *in, struct entry *e)
{
	return read_number(in, &e->family) && read_field(in, &e->address) &&
	       read_field(in, &e->number) && read_field(in, &e->name) && read_field(in, &e->data);
}

static bool is(const struct field *field, const char *text)
{
	return field->len == strlen(text) && memcmp(field->text, text, field->len) == 0;
}

/* An entry without a number is for all of its host. */
static bool opens(const struct entry *e, const struct x_display *display, const char *hostname)
{
	if (e->number.len && !is(&e->number, display->number))
		return false;
	if (e->family == WILD)
		return true;
	if (display->local)
		return e->family == LOCAL && is(&e->address, hostname);
	return e->family == INTERNET || e->family == INTERNET6;
}

void xauthority_pick(const char *bytes, size_t len, const struct x_display *display,
		     const char *hostname, struct str *out)
{
	struct input in = { bytes, bytes + len };
	const char *begin = in.at;
	struct entry e;

	while (read_entry(&in, &e)) {
		if (opens(&e, display, hostname))
			str_add(out, begin, (size_t)(in.at - begin));
		begin = in.at;
	}
}

static bool is_local(const char *host, size_t len)
{
	static const char *const names[] = { "", "unix", "localhost", "127.0.0.1", "[::1]", "::1" };
	const struct field field = { host, len };

	for (size_t i = 0; i < array_size(names); i++)
		if (is(&field, names[i]))
			return true;
	return host[0] == '/'; /* a socket's path */
}

bool x_display_parse(const char *text, struct x_display *display)
{
	const char *colon = strrchr(text, ':');
	size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

	if (digits == 0 || digits >= sizeof(display->number) ||
	    (colon[1 + digits] && colon[1 + digits] != '.'))
		return false;
	*display = (struct x_display){ .local = is_local(text, (size_t)(colon - text)) };
	memcpy(display->number, colon + 1, digits);
	return true;
}
