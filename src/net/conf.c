/* SPDX-License-Identifier: Apache-2.0 */
#include "net/conf.h"

#include <net/if.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

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

enum key { KEY_SUBNET, KEY_HOST_SUBNET, KEY_BRIDGE, KEY_FIRST_PORT, KEYS };
static const char *const keys[KEYS] = { "subnet", "host-subnet", "bridge", "first-port" };

static int parse_bridges(char *value, struct strings *bridges, struct error *err)
{
	char *name;

	while ((name = strsep(&value, " \t"))) {
		if (*name == '\0')
			continue;
		if (strlen(name) >= IF_NAMESIZE || strchr(name, '/'))
			return error_set(err, E_INVALID, "'%.64s' is not an interface", name);
		if (bridges->len == NET_CONF_BRIDGES_MAX)
			return error_set(err, E_TOO_BIG, "more than %d bridges",
					 NET_CONF_BRIDGES_MAX);
		strings_add(bridges, name);
	}
	return 0;
}

static int parse_port(const char *value, uint16_t *port, struct error *err)
{
	uint64_t number;

	if (str_to_u64(value, UINT16_MAX, &number) < 0 || number == 0)
		return error_set(err, E_INVALID, "'%.64s' is not a port", value);
	*port = (uint16_t)number;
	return 0;
}

static int parse_value(enum key key, char *value, struct net_conf *conf, struct error *err)
{
	switch (key) {
	case KEY_SUBNET:
		return subnet_parse(value, &conf->subnet, err);
	case KEY_HOST_SUBNET:
		return subnet_parse(value, &conf->host_subnet, err);
	case KEY_BRIDGE:
		return parse_bridges(value, &conf->bridges, err);
	case KEY_FIRST_PORT:
		return parse_port(value, &conf->first_port, err);
	case KEYS:
		break;
	}
	return error_set(err, E_INVALID, "unknown key");
}

/* Split "key = value". Return: 1; 0 for a line that says nothing; or error. */
static int split(char *line, char **key, char **value, struct error *err)
{
	*value = line;
	line[strcspn(line, "#\r")] = '\0';
	if (*trim(line) == '\0')
		return 0;
	*key = trim(strsep(value, "="));
	*value = *value ? trim(*value) : line + strlen(line);
	if (**value == '\0')
		return error_set(err, E_INVALID, "expected 'key = value'");
	return 1;
}

static int parse_line(char *line, struct net_conf *conf, bool seen[KEYS], struct error *err)
{
	char *key, *value;
	int r = split(line, &key, &value, err);

	if (r <= 0)
		return r;
	for (enum key k = 0; k < KEYS; k++) {
		if (strcmp(key, keys[k]) != 0)
			continue;
		if (seen[k])
			return error_set(err, E_INVALID, "'%s' is given twice", keys[k]);
		seen[k] = true;
		return parse_value(k, value, conf, err);
	}
	return error_set(err, E_INVALID, "unknown key '%.64s'", key);
}

static bool overlap(const struct subnet *a, const struct subnet *b)
{
	unsigned prefix = a->prefix < b->prefix ? a->prefix : b->prefix;

	return (a->network ^ b->network) >> (32 - prefix) == 0;
}

int net_conf_parse(struct slice text, struct net_conf *conf, struct error *err)
{
	auto_net_conf parsed = NET_CONF_INIT;
	auto_free char *copy = NULL;
	bool seen[KEYS] = { false };
	char *rest, *line;

	if (text.len > NET_CONF_SIZE_MAX)
		return error_set(err, E_TOO_BIG, "larger than %d bytes", NET_CONF_SIZE_MAX);
	if (text.len && memchr(text.ptr, '\0', text.len))
		return error_set(err, E_INVALID, "a NUL byte");
	copy = xstrndup((const char *)text.ptr, text.len);
	rest = copy;
	for (unsigned number = 1; (line = strsep(&rest, "\n")); number++)
		if (parse_line(line, &parsed, seen, err) < 0)
			return error_wrap(err, "line %u", number);
	if (overlap(&parsed.subnet, &parsed.host_subnet))
		return error_set(err, E_INVALID, "'subnet' and 'host-subnet' overlap");
	net_conf_release(conf);
	*conf = parsed;
	parsed = (struct net_conf)NET_CONF_INIT;
	return 0;
}

void net_conf_release(struct net_conf *conf)
{
	strings_release(&conf->bridges);
}
