/* SPDX-License-Identifier: Apache-2.0 */
#include "net/conf.h"

#include <string.h>

#include "base/error.h"
#include "base/mem.h"

/* Without the blanks around it, in place. */
static char *trim(char *text)
{
	size_t len;

	text += strspn(text, " \t");
	len = strlen(text);
	while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	text[len] = '\0';
	return text;
}

static int parse_line(char *line, struct net_conf *conf, bool *has_subnet, struct error *err)
{
	char *value = line, *key;

	line[strcspn(line, "#")] = '\0';
	if (*trim(line) == '\0')
		return 0;
	key = trim(strsep(&value, "="));
	value = value ? trim(value) : line + strlen(line);
	if (*value == '\0')
		return error_set(err, E_INVALID, "expected 'key = value'");
	if (strcmp(key, "subnet") != 0)
		return error_set(err, E_INVALID, "unknown key '%.64s'", key);
	if (*has_subnet)
		return error_set(err, E_INVALID, "'subnet' is given twice");
	*has_subnet = true;
	return subnet_parse(value, &conf->subnet, err);
}

int net_conf_parse(struct slice text, struct net_conf *conf, struct error *err)
{
	struct net_conf parsed = { .subnet = subnet_default };
	auto_free char *copy = NULL;
	bool has_subnet = false;
	char *rest, *line;

	if (text.len > NET_CONF_SIZE_MAX)
		return error_set(err, E_TOO_BIG, "larger than %d bytes", NET_CONF_SIZE_MAX);
	if (text.len && memchr(text.ptr, '\0', text.len))
		return error_set(err, E_INVALID, "a NUL byte");
	copy = xstrndup((const char *)text.ptr, text.len);
	rest = copy;
	for (unsigned number = 1; (line = strsep(&rest, "\n")); number++)
		if (parse_line(line, &parsed, &has_subnet, err) < 0)
			return error_wrap(err, "line %u", number);
	*conf = parsed;
	return 0;
}
