/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_scan.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"

void json_scan_begin(struct json_scan *scan, const void *bytes, size_t len)
{
	*scan = (struct json_scan){ .at = bytes, .end = (const char *)bytes + len, .start = bytes };
}

static int invalid(const struct json_scan *scan, const char *what, struct error *err)
{
	return error_set(err, E_INVALID, "invalid JSON at byte %zu: %s",
			 (size_t)(scan->at - scan->start) + 1, what);
}

/* The next character that is no white space, 0 at the end. */
static char peek(struct json_scan *scan)
{
	while (scan->at < scan->end &&
	       (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
		scan->at++;
	if (scan->at == scan->end)
		return '\0';
	return *scan->at;
}

static bool take_char(struct json_scan *scan, char c)
{
	if (scan->at == scan->end || *scan->at != c)
		return false;
	scan->at++;
	return true;
}

int json_scan_end(struct json_scan *scan, struct error *err)
{
	(void)peek(scan);
	return scan->at < scan->end ? invalid(scan, "more than one value", err) : 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Where a string goes: what is beyond @size is counted only. */
struct sink {
	char *text;
	size_t size, len;
};

static void put(struct sink *sink, unsigned c)
{
	if (sink->len < sink->size)
		sink->text[sink->len] = (char)c;
	sink->len++;
}

static void put_utf8(struct sink *sink, uint32_t c)
{
	if (c < 0x80) {
		put(sink, c);
		return;
	}
	if (c < 0x800) {
		put(sink, 0xc0 | c >> 6);
	} else if (c < 0x10000) {
		put(sink, 0xe0 | c >> 12);
		put(sink, 0x80 | (c >> 6 & 0x3f));
	} else {
		put(sink, 0xf0 | c >> 18);
		put(sink, 0x80 | (c >> 12 & 0x3f));
		put(sink, 0x80 | (c >> 6 & 0x3f));
	}
	put(sink, 0x80 | (c & 0x3f));
}

/* Four hex digits. Return: their value, or -1. */
static int32_t take_hex(struct json_scan *scan)
{
	int32_t value = 0;

	if (scan->end - scan->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_value(*scan->at);

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
		scan->at++;
	}
	return value;
}

/* What follows "\u". */
static int take_unicode(struct json_scan *scan, struct sink *sink, struct error *err)
{
	int32_t c = take_hex(scan), low;

	if (c >= 0xd800 && c < 0xdc00) {
		if (!take_char(scan, '\\') || !take_char(scan, 'u'))
			return invalid(scan, "half of a character", err);
		low = take_hex(scan);
		if (low < 0xdc00 || low > 0xdfff)
			return invalid(scan, "half of a character", err);
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	} else if (c <= 0 || (c >= 0xdc00 && c <= 0xdfff)) {
		return invalid(scan, "not a character", err);
	}
	put_utf8(sink, (uint32_t)c);
	return 0;
}

static int take_escape(struct json_scan *scan, struct sink *sink, struct error *err)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char *name;

	if (take_char(scan, 'u'))
		return take_unicode(scan, sink, err);
	name = scan->at < scan->end && *scan->at ? strchr(names, *scan->at) : NULL;
	if (!name)
		return invalid(scan, "an unknown escape", err);
	scan->at++;
	put(sink, (unsigned char)values[name - names]);
	return 0;
}

/* The string here, whose quote is next. */
static int take_string(struct json_scan *scan, struct sink *sink, struct error *err)
{
	scan->at++;
	while (scan->at < scan->end) {
		unsigned char c = (unsigned char)*scan->at;

		if (c == '"') {
			scan->at++;
			return 0;
		}
		if (c < ' ')
			return invalid(scan, "a control character in a string", err);
		scan->at++;
		if (c != '\\')
			put(sink, c);
		else if (take_escape(scan, sink, err) < 0)
			return -err->code;
	}
	return invalid(scan, "a string that does not end", err);
}

int json_scan_string(struct json_scan *scan, char *text, size_t size, struct error *err)
{
	struct sink sink = { .text = text, .size = size - 1 };

	if (peek(scan) != '"')
		return error_set(err, E_INVALID, "not a string");
	if (take_string(scan, &sink, err) < 0)
		return -err->code;
	text[sink.len < size ? sink.len : 0] = '\0';
	return sink.len < size;
}

static size_t skip_digits(struct json_scan *scan)
{
	const char *start = scan->at;

	while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
		scan->at++;
	return (size_t)(scan->at - start);
}

/* Return: 1 an integer; 0 another number; or error. */
static int skip_number(struct json_scan *scan, struct error *err)
{
	int integer = 1;

	(void)take_char(scan, '-');
	if (!take_char(scan, '0') && !skip_digits(scan))
		return invalid(scan, "not a value", err);
	if (take_char(scan, '.')) {
		integer = 0;
		if (!skip_digits(scan))
			return invalid(scan, "not a number", err);
	}
	if (take_char(scan, 'e') || take_char(scan, 'E')) {
		integer = 0;
		(void)(take_char(scan, '+') || take_char(scan, '-'));
		if (!skip_digits(scan))
			return invalid(scan, "not a number", err);
	}
	return integer;
}

int json_scan_integer(struct json_scan *scan, int64_t *value, struct error *err)
{
	char first = peek(scan);
	const char *c = scan->at;
	int64_t v = 0;
	int r;

	if (first != '-' && (first < '0' || first > '9'))
		return error_set(err, E_INVALID, "not an integer");
	r = skip_number(scan, err);
	if (r <= 0)
		return r < 0 ? r : error_set(err, E_INVALID, "not an integer");
	for (c += first == '-'; c < scan->at; c++)
		if (__builtin_mul_overflow(v, INT64_C(10), &v) ||
		    __builtin_sub_overflow(v, *c - '0', &v))
			return error_set(err, E_INVALID, "too big an integer");
	if (first != '-' && v == INT64_MIN)
		return error_set(err, E_INVALID, "too big an integer");
	*value = first == '-' ? v : -v;
	return 0;
}

static bool take_word(struct json_scan *scan, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(scan->end - scan->at) < n || memcmp(scan->at, word, n) != 0)
		return false;
	scan->at += n;
	return true;
}

int json_scan_null(struct json_scan *scan)
{
	return peek(scan) == 'n' && take_word(scan, "null");
}

/* After a value: another one, or the end with @close. Return: 1, 0 or error. */
static int next(struct json_scan *scan, char close, struct error *err)
{
	char c = peek(scan);

	if (c != ',' && c != close)
		return invalid(scan, "neither a comma nor the end", err);
	scan->at++;
	return c == ',';
}

static int take_member(struct json_scan *scan, json_member_fn member, void *arg, struct error *err)
{
	char key[JSON_SCAN_KEY + 1];

	if (peek(scan) != '"')
		return invalid(scan, "not a key", err);
	if (json_scan_string(scan, key, sizeof(key), err) < 0)
		return -err->code;
	if (peek(scan) != ':')
		return invalid(scan, "no colon", err);
	scan->at++;
	return member(arg, scan, key, err);
}

/* Open an object or an array. Return: 1 something is in it; 0 it is empty; or error. */
static int enter(struct json_scan *scan, char open, char close, const char *what, struct error *err)
{
	if (peek(scan) != open)
		return error_set(err, E_INVALID, "%s", what);
	if (scan->depth > JSON_SCAN_DEPTH)
		return invalid(scan, "nested too deeply", err);
	scan->at++;
	if (peek(scan) != close)
		return 1;
	scan->at++;
	return 0;
}

int json_scan_object(struct json_scan *scan, json_member_fn member, void *arg, struct error *err)
{
	int r;

	scan->depth++;
	r = enter(scan, '{', '}', "not an object", err);
	while (r > 0) {
		r = take_member(scan, member, arg, err);
		if (r >= 0)
			r = next(scan, '}', err);
	}
	scan->depth--;
	return r;
}

int json_scan_array(struct json_scan *scan, json_element_fn element, void *arg, struct error *err)
{
	int r;

	scan->depth++;
	r = enter(scan, '[', ']', "not an array", err);
	for (size_t i = 0; r > 0; i++) {
		r = element(arg, scan, i, err);
		if (r >= 0)
			r = next(scan, ']', err);
	}
	scan->depth--;
	return r;
}

static int skip_member(void *arg, struct json_scan *scan, const char *key, struct error *err)
{
	(void)arg;
	(void)key;
	return json_scan_skip(scan, err);
}

static int skip_element(void *arg, struct json_scan *scan, size_t index, struct error *err)
{
	(void)arg;
	(void)index;
	return json_scan_skip(scan, err);
}

int json_scan_skip(struct json_scan *scan, struct error *err)
{
	struct sink nowhere = { 0 };

	switch (peek(scan)) {
	case '{':
		return json_scan_object(scan, skip_member, NULL, err);
	case '[':
		return json_scan_array(scan, skip_element, NULL, err);
	case '"':
		return take_string(scan, &nowhere, err);
	case 't':
		return take_word(scan, "true") ? 0 : invalid(scan, "not a value", err);
	case 'f':
		return take_word(scan, "false") ? 0 : invalid(scan, "not a value", err);
	case 'n':
		return take_word(scan, "null") ? 0 : invalid(scan, "not a value", err);
	default:
		return skip_number(scan, err) < 0 ? -err->code : 0;
	}
}
