/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <string.h>

#include "base/error.h"
#include "base/str.h"

/*
 * Before anything is made of the text: how many values are there at most (each but the first stands
 * behind the beginning of an object or an array, or behind a comma), and how deep are they?
 */
static int check_bounds(const char *text, size_t len, struct error *err)
{
	size_t values = 1, depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		bool opens = !quoted && (c == '{' || c == '[');

		if (c == '"')
			quoted = !quoted;
		else if (quoted)
			i += c == '\\';
		else if ((c == '}' || c == ']') && depth)
			depth--;
		depth += opens;
		values += opens || (!quoted && c == ',');
		if (depth > JSON_DEPTH_MAX)
			return error_set(err, E_INVALID, "invalid JSON: nested too deeply");
	}
	if (values > JSON_VALUES_MAX)
		return error_set(err, E_TOO_BIG, "JSON of more than %d values", JSON_VALUES_MAX);
	return 0;
}

int json_parse_object(const void *bytes, size_t len, json_t **object, struct error *err)
{
	json_error_t why;
	int r = check_bounds(bytes, len, err);
	json_t *j;

	if (r < 0)
		return r;
	j = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		return error_set(err, E_INVALID, "invalid JSON at line %d: %s", why.line, why.text);
	if (!json_is_object(j)) {
		json_decref(j);
		return error_set(err, E_INVALID, "invalid JSON: not an object");
	}
	*object = j;
	return 0;
}

static const json_t *member(const json_t *object, const char *key)
{
	const json_t *m = json_object_get(object, key);

	return m && !json_is_null(m) ? m : NULL;
}

int json_get_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *value,
		 struct error *err)
{
	const json_t *m = member(object, key);

	if (!m)
		return 0;
	if (!json_is_integer(m))
		return error_set(err, E_INVALID, "'%s' is not an integer", key);
	if (json_integer_value(m) < min || json_integer_value(m) > max)
		return error_set(err, E_INVALID, "'%s' is out of range", key);
	*value = json_integer_value(m);
	return 1;
}

int json_get_bool(const json_t *object, const char *key, bool *value, struct error *err)
{
	const json_t *m = member(object, key);

	if (!m)
		return 0;
	if (!json_is_boolean(m))
		return error_set(err, E_INVALID, "'%s' is not a boolean", key);
	*value = json_is_true(m);
	return 1;
}

int json_get_string(const json_t *object, const char *key, const char **value, struct error *err)
{
	const json_t *m = member(object, key);

	if (!m)
		return 0;
	if (!json_is_string(m))
		return error_set(err, E_INVALID, "'%s' is not a string", key);
	/* jansson refuses \u0000 at parse time, so there is no NUL inside */
	*value = json_string_value(m);
	return 1;
}

static int add_bytes(const char *bytes, size_t n, void *out)
{
	str_add(out, bytes, n);
	return 0;
}

void json_add_compact(struct str *out, const json_t *value)
{
	(void)json_dump_callback(value, add_bytes, out, JSON_COMPACT | JSON_ENCODE_ANY);
}

static void indent(struct str *out, unsigned depth)
{
	while (depth--)
		str_adds(out, "  ");
}

static void add_value(struct str *out, const json_t *value, unsigned depth);

static void add_object(struct str *out, const json_t *object, unsigned depth)
{
	const char *key;
	json_t *value;
	bool first = true;

	str_addc(out, '{');
	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		auto_json *name = json_string(key);

		str_adds(out, first ? "\n" : ",\n");
		first = false;
		indent(out, depth + 1);
		(void)json_dump_callback(name, add_bytes, out, JSON_ENCODE_ANY);
		str_adds(out, " : ");
		add_value(out, value, depth + 1);
	}
	str_addc(out, '\n');
	indent(out, depth);
	str_addc(out, '}');
}

static void add_array(struct str *out, const json_t *array, unsigned depth)
{
	size_t n = json_array_size(array);

	str_addc(out, '[');
	if (!n)
		str_addc(out, '\n');
	for (size_t i = 0; i < n; i++) {
		str_adds(out, i ? ",\n" : "\n");
		indent(out, depth + 1);
		add_value(out, json_array_get(array, i), depth + 1);
	}
	str_addc(out, '\n');
	indent(out, depth);
	str_addc(out, ']');
}

static void add_value(struct str *out, const json_t *value, unsigned depth)
{
	if (json_is_object(value))
		add_object(out, value, depth);
	else if (json_is_array(value))
		add_array(out, value, depth);
	else
		(void)json_dump_callback(value, add_bytes, out, JSON_ENCODE_ANY);
}

void json_add_pretty(struct str *out, const json_t *value)
{
	add_value(out, value, 0);
}
