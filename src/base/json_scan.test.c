/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/json_scan.h"
#include "base/str.h"

static struct json_scan scan_of(const char *text)
{
	struct json_scan scan;

	json_scan_begin(&scan, text, strlen(text));
	return scan;
}

static int check(const char *text, struct error *err)
{
	struct json_scan scan = scan_of(text);
	int r = json_scan_skip(&scan, err);

	return r < 0 ? r : json_scan_end(&scan, err);
}

static void what_is_json(void **state)
{
	static const char *const good[] = {
		"{}",
		" [ ] ",
		"[1,-2,0,3.5,1e9,-0.1E-7]",
		"\"\\u00e4\\ud83d\\ude00\\/\\n\"",
		"{\"a\":{\"b\":[true,false,null]},\"c\":\"\"}",
		"\t7\r\n",
		"\"\xff\"",
	};

	(void)state;
	for (size_t i = 0; i < array_size(good); i++) {
		struct error err = ERROR_INIT;

		if (check(good[i], &err) < 0)
			fail_msg("%s: %s", good[i], err.text);
	}
}

static void what_is_not(void **state)
{
	static const char *const bad[] = {
		"",
		" ",
		"{",
		"[",
		"[1,]",
		"[,1]",
		"{\"a\"}",
		"{\"a\":}",
		"{a:1}",
		"{\"a\":1,}",
		"tru",
		"nul",
		"falsy",
		"-",
		"1.",
		"1e",
		".5",
		"+1",
		"\"",
		"\"\n\"",
		"\"\\x\"",
		"\"\\u12\"",
		"\"\\ud800\"",
		"\"\\ud800\\u0041\"",
		"\"\\udc00\"",
		"\"\\u0000\"",
		"\"\\",
		"1 2",
		"{}{}",
		"[1 2]",
		"\"\\u12g4\"",
		"{\"a\":1 \"b\":2}",
		"01",
	};

	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		struct error err = ERROR_INIT;

		if (check(bad[i], &err) != -E_INVALID)
			fail_msg("%s", bad[i]);
		assert_true(err.text[0]);
	}
}

static void depth_is_bounded(void **state)
{
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	for (int i = 0; i < JSON_SCAN_DEPTH; i++)
		str_addc(&text, '[');
	for (int i = 0; i < JSON_SCAN_DEPTH; i++)
		str_addc(&text, ']');
	assert_int_equal(check(text.ptr, &err), 0);
	str_reset(&text);
	for (int i = 0; i < 1000000; i++)
		str_adds(&text, "[{\"a\":");
	assert_int_equal(check(text.ptr, &err), -E_INVALID);
	assert_non_null(strstr(err.text, "nested too deeply"));
}

static void strings(void **state)
{
	struct json_scan scan = scan_of("\"a\\\"\\/\\u00e4\\u20ac\\ud83d\\ude00\\t\"");
	char text[32];
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(json_scan_string(&scan, text, sizeof(text), &err), 1);
	assert_string_equal(text, "a\"/\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\t");
	scan = scan_of("\"abcd\"");
	assert_int_equal(json_scan_string(&scan, text, 5, &err), 1);
	assert_string_equal(text, "abcd");
	scan = scan_of("\"abcd\",");
	assert_int_equal(json_scan_string(&scan, text, 4, &err), 0);
	assert_string_equal(text, "");
	assert_int_equal(*scan.at, ',');
	scan = scan_of("7");
	assert_int_equal(json_scan_string(&scan, text, 4, &err), -E_INVALID);
	assert_string_equal(err.text, "not a string");
}

static void integers(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
		bool good;
	} cases[] = {
		{ "0", 0, true },
		{ "-0", 0, true },
		{ "42", 42, true },
		{ "9223372036854775807", INT64_MAX, true },
		{ "-9223372036854775808", INT64_MIN, true },
		{ "9223372036854775808", 0, false },
		{ "-9223372036854775809", 0, false },
		{ "99999999999999999999999", 0, false },
		{ "1.0", 0, false },
		{ "1e3", 0, false },
		{ "\"1\"", 0, false },
		{ "null", 0, false },
		{ "-", 0, false },
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		struct json_scan scan = scan_of(cases[i].text);
		struct error err = ERROR_INIT;
		int64_t value = 7;
		int r = json_scan_integer(&scan, &value, &err);

		assert_int_equal(r, cases[i].good ? 0 : -E_INVALID);
		assert_int_equal(value, cases[i].good ? cases[i].value : 7);
	}
}

static int member(void *arg, struct json_scan *scan, const char *key, struct error *err)
{
	str_addf(arg, "%s;", key);
	return strcmp(key, "stop") == 0 ? error_set(err, E_FAILED, "stopped")
					: json_scan_skip(scan, err);
}

static int element(void *arg, struct json_scan *scan, size_t index, struct error *err)
{
	str_addf(arg, "%zu", index);
	if (json_scan_null(scan))
		return 0;
	return json_scan_object(scan, member, arg, err);
}

static void members_and_elements(void **state)
{
	auto_str seen = STR_INIT;
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;
	struct json_scan scan = scan_of("[{\"a\":1,\"b\":[2]},null,{}]");

	(void)state;
	assert_int_equal(json_scan_array(&scan, element, &seen, &err), 0);
	assert_string_equal(seen.ptr, "0a;b;12");
	scan = scan_of("{\"a\":1,\"stop\":2,\"c\":3}");
	str_reset(&seen);
	assert_int_equal(json_scan_object(&scan, member, &seen, &err), -E_FAILED);
	assert_string_equal(seen.ptr, "a;stop;");
	scan = scan_of("[1]");
	assert_int_equal(json_scan_array(&scan, element, &seen, &err), -E_INVALID);
	scan = scan_of("{}");
	assert_int_equal(json_scan_array(&scan, element, &seen, &err), -E_INVALID);
	str_adds(&text, "{\"");
	for (int i = 0; i <= JSON_SCAN_KEY; i++)
		str_addc(&text, 'k');
	str_adds(&text, "\":1}");
	scan = scan_of(text.ptr);
	str_reset(&seen);
	assert_int_equal(json_scan_object(&scan, member, &seen, &err), 0);
	assert_string_equal(seen.ptr, ";");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_json),	    cmocka_unit_test(what_is_not),
		cmocka_unit_test(depth_is_bounded), cmocka_unit_test(strings),
		cmocka_unit_test(integers),	    cmocka_unit_test(members_and_elements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
