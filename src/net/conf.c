/* SPDX-License-Identifier: Apache-2.0 */
#include "net/conf.h"

#include <string.h>

#include "base/error.h"

enum { VALUE_MAX = 64 };

struct parser {
	struct net_conf *conf;
	bool has_subnet;
};

static struct slice trim(struct slice s)
{
	while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
		s = (struct slice){ s.ptr + 1, s.len - 1 };
	while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* What stands before the first @c; the rest, without @c, goes to *after. */
static struct slice cut(struct slice s, char c, struct slice *after)
{
	const uint8_t *at = s.len ? memchr(s.ptr, c, s.len) : NULL;
	size_t n = at ? (size_t)(at - s.ptr) : s.len;

	*after = at ? (struct slice){ at + 1, s.len - n - 1 } : (struct slice){ s.ptr + n, 0 };
	return (struct slice){ s.ptr, n };
}

static bool is_key(struct slice s, const char *key)
{
	return s.len == strlen(key) && memcmp(s.ptr, key, s.len) == 0;
}

static int set_subnet(struct parser *p, struct slice value, struct error *err)
{
	char text[VALUE_MAX + 1];

	if (p->has_subnet)
		return error_set(err, E_INVALID, "'subnet' is given twice");
	if (value.len > VALUE_MAX)
		return error_set(err, E_INVALID, "the value of 'subnet' is too long");
	memcpy(text, value.ptr, value.len);
	text[value.len] = '\0';
	if (strlen(text) != value.len)
		return error_set(err, E_INVALID, "a NUL byte");
	p->has_subnet = true;
	return subnet_parse(text, &p->conf->subnet, err);
}

static int parse_line(struct parser *p, struct slice line, struct error *err)
{
	struct slice value, comment, key;

	line = trim(cut(line, '#', &comment));
	if (line.len == 0)
		return 0;
	key = trim(cut(line, '=', &value));
	if (value.len == 0)
		return error_set(err, E_INVALID, "expected 'key = value'");
	if (!is_key(key, "subnet"))
		return error_set(err, E_INVALID, "unknown key '%.*s'",
				 (int)(key.len > VALUE_MAX ? VALUE_MAX : key.len),
				 (const char *)key.ptr);
	return set_subnet(p, trim(value), err);
}

int net_conf_parse(struct slice text, struct net_conf *conf, struct error *err)
{
	struct net_conf parsed = { .subnet = subnet_default };
	struct parser p = { .conf = &parsed };

	if (text.len > NET_CONF_SIZE_MAX)
		return error_set(err, E_TOO_BIG, "larger than %d bytes", NET_CONF_SIZE_MAX);
	for (unsigned number = 1; text.len; number++) {
		struct slice line = cut(text, '\n', &text);

		if (parse_line(&p, line, err) < 0)
			return error_wrap(err, "line %u", number);
	}
	*conf = parsed;
	return 0;
}
