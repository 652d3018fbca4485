/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

static int parse(const char *text, json_t **object)
{
	struct error err = ERROR_INIT;

	return json_parse_object(text, strlen(text), object, &err);
}

static void malformed_input_is_invalid(void **state)
{
	static const char *const wrong[] = {
		"",
		" ",
		"{",
		"[]",
		"1",
		"\"a\"",
		"null",
		"{\"a\":1,\"a\":2}",
		"{} x",
		"{}{}",
		"{\"a\":\"\\u0000\"}",
		"{\"a\":\"\xff\"}",
		"{\"a\":\"\\ud800\"}",
		"{\"a\":9223372036854775808}",
		"{\"a\":1e999}",
		"{'a':1}",
		"{\"a\":01}",
		"{\"a\":NaN}",
		"{\"a\":1,}",
		"\xef\xbb\xbf{}",
	};

	(void)state;
	for (size_t i = 0; i < array_size(wrong); i++) {
		json_t *object = NULL;

		assert_int_equal(parse(wrong[i], &object), -E_INVALID);
		assert_null(object);
	}
}

static void a_nul_byte_does_not_end_the_input(void **state)
{
	struct error err = ERROR_INIT;
	json_t *object = NULL;

	(void)state;
	assert_int_equal(json_parse_object("{}\0{}", 5, &object, &err), -E_INVALID);
}

static void deep_nesting_is_refused_not_followed(void **state)
{
	auto_str text = STR_INIT;
	json_t *object = NULL;

	(void)state;
	for (int i = 0; i < 100000; i++)
		str_adds(&text, "{\"a\":");
	assert_int_equal(parse(text.ptr, &object), -E_INVALID);
}

static void make_nested(struct str *text, int depth)
{
	for (int i = 0; i < depth; i++)
		str_adds(text, "{\"[\\\"{\":\"[\",\"a\":");
	str_adds(text, "1");
	for (int i = 0; i < depth; i++)
		str_adds(text, "}");
}

/* Printed, each value stands in a line of its own, behind all the spaces of its depth. */
static void nesting_is_bounded(void **state)
{
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;
	json_t *object = NULL;

	(void)state;
	make_nested(&text, JSON_DEPTH_MAX + 1);
	assert_int_equal(json_parse_object(text.ptr, text.len, &object, &err), -E_INVALID);
	assert_non_null(strstr(err.text, "nested too deeply"));
	assert_null(object);
	str_reset(&text);
	make_nested(&text, JSON_DEPTH_MAX);
	assert_int_equal(json_parse_object(text.ptr, text.len, &object, &err), 0);
	json_decref(object);
}

/* An object of an array, @n values in all; what is in the key is none. */
static void make_values(struct str *text, size_t n)
{
	str_adds(text, "{\"[{,\\\",[{\":[{}");
	for (size_t i = 3; i < n; i++)
		str_adds(text, i % 2 ? ",[]" : ",1");
	str_adds(text, "]}");
}

/* Three bytes of text can take some 220 of memory. */
static void too_many_values_are_refused(void **state)
{
	struct error err = ERROR_INIT;
	auto_str text = STR_INIT;
	auto_json *object = NULL;

	(void)state;
	make_values(&text, JSON_VALUES_MAX + 1);
	assert_int_equal(json_parse_object(text.ptr, text.len, &object, &err), -E_TOO_BIG);
	assert_null(object);
	str_reset(&text);
	str_adds(&text, "{\"a\":\"");
	for (size_t i = 0; i < JSON_VALUES_MAX; i++)
		str_adds(&text, ",[\\\\");
	str_adds(&text, "\"}");
	assert_int_equal(json_parse_object(text.ptr, text.len, &object, &err), 0);
}

static void half_as_many_are_read(void **state)
{
	auto_str text = STR_INIT;
	auto_json *object = NULL;

	(void)state;
	make_values(&text, JSON_VALUES_MAX / 2);
	assert_int_equal(parse(text.ptr, &object), 0);
}

static void the_message_of_hostile_input_is_printable(void **state)
{
	static const char text[] = "{\"\x1b[2J";
	struct error err = ERROR_INIT;
	json_t *object = NULL;

	(void)state;
	assert_int_equal(json_parse_object(text, strlen(text), &object, &err), -E_INVALID);
	assert_null(strchr(err.text, '\x1b'));
}

static void integers_are_exact_and_bounded(void **state)
{
	struct error err = ERROR_INIT;
	auto_json *object = NULL;
	int64_t v = 5;

	(void)state;
	assert_int_equal(parse("{\"max\":9223372036854775807,\"min\":-9223372036854775808,"
			       "\"real\":1.0,\"text\":\"1\",\"null\":null}",
			       &object),
			 0);
	assert_int_equal(json_get_int(object, "absent", 0, 9, &v, &err), 0);
	assert_int_equal(json_get_int(object, "null", 0, 9, &v, &err), 0);
	assert_int_equal(json_get_int(object, "max", 0, 9, &v, &err), -E_INVALID);
	assert_string_equal(err.text, "'max' is out of range");
	assert_int_equal(json_get_int(object, "min", 0, 9, &v, &err), -E_INVALID);
	assert_int_equal(json_get_int(object, "real", 0, 9, &v, &err), -E_INVALID);
	assert_int_equal(json_get_int(object, "text", 0, 9, &v, &err), -E_INVALID);
	assert_string_equal(err.text, "'text' is not an integer");
	assert_int_equal(v, 5);
	assert_int_equal(json_get_int(object, "max", INT64_MIN, INT64_MAX, &v, &err), 1);
	assert_true(v == INT64_MAX);
	assert_int_equal(json_get_int(object, "min", INT64_MIN, INT64_MAX, &v, &err), 1);
	assert_true(v == INT64_MIN);
}

static void booleans_and_strings_have_their_type(void **state)
{
	struct error err = ERROR_INIT;
	auto_json *object = NULL;
	const char *text = "before";
	bool flag = true;

	(void)state;
	assert_int_equal(parse("{\"b\":false,\"s\":\"x\",\"n\":0,\"z\":null}", &object), 0);
	assert_int_equal(json_get_bool(object, "n", &flag, &err), -E_INVALID);
	assert_int_equal(json_get_bool(object, "z", &flag, &err), 0);
	assert_true(flag);
	assert_int_equal(json_get_bool(object, "b", &flag, &err), 1);
	assert_false(flag);
	assert_int_equal(json_get_string(object, "n", &text, &err), -E_INVALID);
	assert_int_equal(json_get_string(object, "z", &text, &err), 0);
	assert_string_equal(text, "before");
	assert_int_equal(json_get_string(object, "s", &text, &err), 1);
	assert_string_equal(text, "x");
}

static void pretty_text_is_the_contracts(void **state)
{
	auto_json *object = NULL;
	auto_str text = STR_INIT;

	(void)state;
	assert_int_equal(parse("{\"Z\":1,\"A\":{\"b\":\"x\\\"\"},\"L\":[1,{\"c\":null}],\"E\":[]}",
			       &object),
			 0);
	json_add_pretty(&text, object);
	assert_string_equal(text.ptr, "{\n"
				      "  \"Z\" : 1,\n"
				      "  \"A\" : {\n"
				      "    \"b\" : \"x\\\"\"\n"
				      "  },\n"
				      "  \"L\" : [\n"
				      "    1,\n"
				      "    {\n"
				      "      \"c\" : null\n"
				      "    }\n"
				      "  ],\n"
				      "  \"E\" : [\n"
				      "\n"
				      "  ]\n"
				      "}");
	str_reset(&text);
	json_add_compact(&text, object);
	assert_string_equal(text.ptr,
			    "{\"Z\":1,\"A\":{\"b\":\"x\\\"\"},\"L\":[1,{\"c\":null}],\"E\":[]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed_input_is_invalid),
		cmocka_unit_test(a_nul_byte_does_not_end_the_input),
		cmocka_unit_test(deep_nesting_is_refused_not_followed),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(too_many_values_are_refused),
		cmocka_unit_test(half_as_many_are_read),
		cmocka_unit_test(the_message_of_hostile_input_is_printable),
		cmocka_unit_test(integers_are_exact_and_bounded),
		cmocka_unit_test(booleans_and_strings_have_their_type),
		cmocka_unit_test(pretty_text_is_the_contracts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
