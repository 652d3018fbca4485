/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void read_members(const json_t *object)
{
	struct error err = ERROR_INIT;
	const char *key, *text = NULL;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		int64_t number = 0;
		bool flag = false;

		if (json_get_int(object, key, -5, 4096, &number, &err) > 0)
			assert(number >= -5 && number <= 4096);
		if (json_get_string(object, key, &text, &err) > 0)
			assert(strlen(text) == json_string_length(value));
		if (json_get_bool(object, key, &flag, &err) > 0)
			assert(flag == json_is_true(value));
	}
}

/* What we print reads back as what it was. */
static void round_trip(const json_t *object, void (*print)(struct str *, const json_t *))
{
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;
	auto_json *again = NULL;

	print(&text, object);
	if (json_parse_object(text.ptr, text.len, &again, &err) < 0)
		__builtin_trap();
	if (!json_equal(object, again))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct error err = ERROR_INIT;
	auto_json *object = NULL;

	if (json_parse_object(bytes, len, &object, &err) < 0)
		return 0;
	read_members(object);
	round_trip(object, json_add_compact);
	round_trip(object, json_add_pretty);
	return 0;
}
