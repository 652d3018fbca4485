/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/config.h"
#include "store/state.h"

enum { VERSION = 1, SUM_DIGITS = 16 };

void state_release(struct state *state)
{
	free(state->config);
	free(state->machine);
	free(state->processor);
	strings_release(&state->parts);
	*state = (struct state)STATE_INIT;
}

static int missing(const char *key, struct error *err)
{
	return error_set(err, E_INVALID, "'%s' is missing", key);
}

static int get_number(const json_t *object, const char *key, uint64_t *value, struct error *err)
{
	int64_t number = 0;
	int r = json_get_int(object, key, 0, INT64_MAX, &number, err);

	if (r <= 0)
		return r < 0 ? r : missing(key, err);
	*value = (uint64_t)number;
	return 0;
}

static int get_text(const json_t *object, const char *key, const char **text, struct error *err)
{
	int r = json_get_string(object, key, text, err);

	if (r <= 0)
		return r < 0 ? r : missing(key, err);
	if (strlen(*text) > STATE_TEXT_MAX)
		return error_set(err, E_TOO_BIG, "'%s' is too long", key);
	return 0;
}

static int parse_parts(const json_t *list, struct strings *parts, struct error *err)
{
	size_t count = json_array_size(list);

	if (!json_is_array(list) || count > STATE_PARTS_MAX)
		return error_set(err, E_INVALID, "'parts' is no list of parts");
	for (size_t i = 0; i < count; i++) {
		const json_t *part = json_array_get(list, i);

		if (!json_is_string(part) || json_string_length(part) > STATE_TEXT_MAX ||
		    strlen(json_string_value(part)) != json_string_length(part))
			return error_set(err, E_INVALID, "'parts' is no list of parts");
		strings_add(parts, json_string_value(part));
	}
	return 0;
}

static int parse_device(const json_t *object, struct state *state, struct error *err)
{
	const char *sum = NULL;
	int r = get_number(object, "size", &state->device_size, err);

	if (r == 0)
		r = get_text(object, "sum", &sum, err);
	if (r < 0)
		return r;
	if (strlen(sum) != SUM_DIGITS || strspn(sum, "0123456789abcdef") != SUM_DIGITS)
		return error_set(err, E_INVALID, "'sum' is no sum");
	state->device_sum = strtoull(sum, NULL, 16);
	return 0;
}

static int parse_disk(const json_t *object, struct state_disk *disk, struct error *err)
{
	int r = get_number(object, "size", &disk->size, err);

	if (r == 0)
		r = get_number(object, "length", &disk->length, err);
	if (r == 0)
		r = json_get_int(object, "modified", INT64_MIN, INT64_MAX, &disk->modified, err);
	if (r == 0)
		return missing("modified", err);
	return r < 0 ? r : 0;
}

static int parse_config(const json_t *object, struct state *state, struct error *err)
{
	const char *text = NULL;
	int r = json_get_string(object, "config", &text, err);

	if (r <= 0)
		return r < 0 ? r : missing("config", err);
	if (strlen(text) > CONFIG_FILE_MAX)
		return error_set(err, E_TOO_BIG, "'config' is too long");
	state->config = xstrdup(text);
	return 0;
}

static int parse_texts(const json_t *object, struct state *state, struct error *err)
{
	const char *machine = NULL, *processor = NULL, *address = NULL;
	int r = get_text(object, "machine", &machine, err);

	if (r == 0)
		r = get_text(object, "processor", &processor, err);
	if (r == 0)
		r = json_get_string(object, "address", &address, err);
	if (r < 0)
		return r;
	if (address && inet_pton(AF_INET, address, &state->address) != 1)
		return error_set(err, E_INVALID, "'address' is no address");
	state->machine = xstrdup(machine);
	state->processor = xstrdup(processor);
	return 0;
}

int state_parse(const void *bytes, size_t len, struct state *state, struct error *err)
{
	auto_json *object = NULL;
	auto_state parsed = STATE_INIT;
	int64_t version = 0;
	int r = json_parse_object(bytes, len, &object, err);

	if (r == 0)
		r = json_get_int(object, "version", VERSION, VERSION, &version, err);
	if (r == 0)
		return missing("version", err);
	if (r > 0)
		r = get_number(object, "memory", &parsed.memory, err);
	if (r == 0)
		r = parse_device(json_object_get(object, "device"), &parsed, err);
	if (r == 0)
		r = parse_disk(json_object_get(object, "disk"), &parsed.disk, err);
	if (r == 0)
		r = parse_parts(json_object_get(object, "parts"), &parsed.parts, err);
	if (r == 0)
		r = parse_config(object, &parsed, err);
	if (r == 0)
		r = parse_texts(object, &parsed, err);
	if (r < 0)
		return r;
	*state = parsed;
	parsed = (struct state)STATE_INIT;
	return 0;
}

static json_t *format_parts(const struct strings *parts)
{
	json_t *list = json_array();

	for (size_t i = 0; i < parts->len; i++)
		(void)json_array_append_new(list, json_string(parts->items[i]));
	return list;
}

void state_format(const struct state *state, struct str *out)
{
	auto_free char *sum = str_format("%016" PRIx64, state->device_sum);
	const struct state_disk *disk = &state->disk;
	char address[INET_ADDRSTRLEN];
	auto_json *object =
		json_pack("{s:i, s:s, s:s, s:I, s:{s:I, s:s}, s:{s:I, s:I, s:I}, s:o}", "version",
			  VERSION, "machine", state->machine, "processor", state->processor,
			  "memory", (json_int_t)state->memory, "device", "size",
			  (json_int_t)state->device_size, "sum", sum, "disk", "size",
			  (json_int_t)disk->size, "length", (json_int_t)disk->length, "modified",
			  (json_int_t)disk->modified, "parts", format_parts(&state->parts));

	(void)json_object_set_new(object, "config", json_string(state->config));
	if (state->address.s_addr)
		(void)json_object_set_new(object, "address",
					  json_string(inet_ntop(AF_INET, &state->address, address,
								sizeof(address))));
	json_add_pretty(out, object);
}
