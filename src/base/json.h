/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

/*
 * What jansson leaves open: bounded input, typed members with one clear
 * message, and the two ways in which this project writes JSON. Integers are
 * exact 64-bit values.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct str;

static inline void json_cleanup_(json_t **j)
{
	json_decref(*j);
}
#define auto_json cleanup_(json_cleanup_) json_t

/*
 * A value takes some 220 bytes of memory, but only three of text, and printed it stands behind two
 * spaces for each object and array around it: texts are not bounded by their length alone. So
 * many take some 30 MB.
 */
enum { JSON_VALUES_MAX = 128 * 1024, JSON_DEPTH_MAX = 64 };

/*
 * Parse one JSON object. Duplicate keys and trailing bytes are errors (E_INVALID); so are more than
 * JSON_VALUES_MAX values (E_TOO_BIG; an empty object or array counts as two) and deep nesting.
 */
int json_parse_object(const void *bytes, size_t len, json_t **object, struct error *err) must_use_;

/*
 * Members of @object. A missing member leaves *value as it is and returns 0;
 * a present one of the right type and range returns 1; a present one of a
 * wrong type or out of range is E_INVALID naming the key. null counts as missing.
 */
int json_get_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *value,
		 struct error *err) must_use_;
int json_get_bool(const json_t *object, const char *key, bool *value, struct error *err) must_use_;
/* *value borrows from @object; a string with a NUL inside is E_INVALID. */
int json_get_string(const json_t *object, const char *key, const char **value,
		    struct error *err) must_use_;

/*
 * Append @value as the contract prints it: two-space indentation, `"Key" : value`,
 * members in insertion order, an empty array as "[", blank line, "]".
 */
void json_add_pretty(struct str *out, const json_t *value);
/* Append @value compactly. */
void json_add_compact(struct str *out, const json_t *value);

#endif
