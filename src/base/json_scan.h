/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

/*
 * JSON read from front to end, without making objects of it: for long texts of which little is
 * wanted. Nothing is allocated, so nothing has to be bounded before; each value is read or
 * skipped just where it stands. Not UTF-8 is checked (a string that is wanted is compared or parsed
 * anyway), all else of the grammar (RFC 8259) is.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;

enum { JSON_SCAN_DEPTH = 64, JSON_SCAN_KEY = 128 };

struct json_scan {
	const char *at, *end;
	const char *start;
	unsigned depth;
};

/* @bytes stay where they are. */
void json_scan_begin(struct json_scan *scan, const void *bytes, size_t len);
/* Only white space may follow. E_INVALID. */
int json_scan_end(struct json_scan *scan, struct error *err) must_use_;

/*
 * Called for each member (element), must consume its value. A key that is longer than JSON_SCAN_KEY
 * is given as "". A negative return ends it all.
 */
typedef int (*json_member_fn)(void *arg, struct json_scan *scan, const char *key,
			      struct error *err);
typedef int (*json_element_fn)(void *arg, struct json_scan *scan, size_t index, struct error *err);

/* The value here must be an object, an array; else E_INVALID. */
int json_scan_object(struct json_scan *scan, json_member_fn member, void *arg,
		     struct error *err) must_use_;
int json_scan_array(struct json_scan *scan, json_element_fn element, void *arg,
		    struct error *err) must_use_;
/*
 * A string into @text of @size bytes. Return: 1; 0 it is longer, @text is ""; E_INVALID for
 * other values and for strings with a NUL.
 */
int json_scan_string(struct json_scan *scan, char *text, size_t size, struct error *err) must_use_;
/* A number without fraction and exponent within 64 bits; else E_INVALID. */
int json_scan_integer(struct json_scan *scan, int64_t *value, struct error *err) must_use_;
/* Consume the value if it is null. Return: 1, 0 it is another. */
int json_scan_null(struct json_scan *scan);
/* Consume any value. */
int json_scan_skip(struct json_scan *scan, struct error *err) must_use_;

#endif
