/* SPDX-License-Identifier: Apache-2.0 */
#include "run/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/json.h"
#include "net/policy.h"

static struct strings allow = VEC_INIT, block = VEC_INIT;

static struct control_policy policy(void)
{
	return (struct control_policy){ .allow = &allow, .block = &block };
}

static void add(struct control *control, const char *text)
{
	control_add(control, text, strlen(text));
}

/* The one answer that is there; its error's code, 0 where it is a result. */
static int take_answer(struct control *control, json_t **answer)
{
	struct error err = ERROR_INIT;
	const char *end = memchr(control->output.ptr, '\n', control->output.len);
	const json_t *error;
	int64_t code = 0;

	assert_non_null(end);
	assert_int_equal(json_parse_object(control->output.ptr, (size_t)(end - control->output.ptr),
					   answer, &err),
			 0);
	str_consume(&control->output, (size_t)(end - control->output.ptr) + 1);
	assert_string_equal(json_string_value(json_object_get(*answer, "jsonrpc")), "2.0");
	error = json_object_get(*answer, "error");
	if (!error)
		return 0;
	assert_null(json_object_get(*answer, "result"));
	assert_true(json_is_string(json_object_get(error, "message")));
	assert_int_equal(json_get_int(error, "code", INT64_MIN, INT64_MAX, &code, &err), 1);
	return (int)code;
}

/* The frame is no request, and answered so, with the id @id (NULL: null). */
static void refuses(const char *frame, int code, const char *id)
{
	struct control control = CONTROL_INIT;
	auto_control_request request = CONTROL_REQUEST_INIT;
	auto_json *answer = NULL;

	add(&control, frame);
	assert_false(control_take(&control, &request));
	assert_int_equal(control.output.len, 0);
	add(&control, "\n");
	assert_false(control_take(&control, &request));
	assert_int_equal(take_answer(&control, &answer), code);
	if (id)
		assert_string_equal(json_string_value(json_object_get(answer, "id")), id);
	else
		assert_true(json_is_null(json_object_get(answer, "id")));
	assert_int_equal(control.output.len, 0);
	assert_int_equal(control.input.len, control.start);
	control_release(&control);
}

#define SET "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"softnet.policy.set\",\"params\":"
#define GET "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"softnet.policy.get\""

static void test_mistakes(void **state)
{
	(void)state;
	refuses("", CONTROL_PARSE, NULL);
	refuses("{", CONTROL_PARSE, NULL);
	refuses("get", CONTROL_PARSE, NULL);
	refuses("[1,]", CONTROL_PARSE, NULL);
	refuses("{\"id\":\"\xff\"}", CONTROL_PARSE, NULL);
	refuses("{} {}", CONTROL_PARSE, NULL);
	refuses("1", CONTROL_INVALID_REQUEST, NULL);
	refuses("[" GET "}]", CONTROL_INVALID_REQUEST, NULL);
	refuses("{}", CONTROL_INVALID_REQUEST, NULL);
	refuses("{\"id\":\"a\",\"id\":\"a\"}", CONTROL_INVALID_REQUEST, NULL);
	refuses("{\"jsonrpc\":\"2.0\",\"method\":\"softnet.policy.get\"}", CONTROL_INVALID_REQUEST,
		NULL);
	refuses("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"softnet.policy.get\"}",
		CONTROL_INVALID_REQUEST, NULL);
	refuses("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"softnet.policy.get\"}",
		CONTROL_INVALID_REQUEST, NULL);
	refuses("{\"jsonrpc\":\"2.0\",\"id\":99999999999999999999,\"method\":\"x\"}",
		CONTROL_INVALID_REQUEST, NULL);
	refuses("{\"jsonrpc\":\"1.0\",\"id\":\"a\",\"method\":\"softnet.policy.get\"}",
		CONTROL_INVALID_REQUEST, "a");
	refuses("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":7}", CONTROL_INVALID_REQUEST, "a");
	refuses(GET ",\"more\":1}", CONTROL_INVALID_REQUEST, "a");
	refuses("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"softnet.policy.drop\"}",
		CONTROL_NO_METHOD, "a");
	refuses(GET ",\"params\":{\"x\":1}}", CONTROL_INVALID_PARAMS, "a");
	refuses(GET ",\"params\":[1]}", CONTROL_INVALID_PARAMS, "a");
	refuses(SET "null}", CONTROL_INVALID_PARAMS, "a");
	refuses(SET "[]}", CONTROL_INVALID_PARAMS, "a");
	refuses(SET "{\"allow\":[]}}", CONTROL_INVALID_PARAMS, "a");
	refuses(SET "{\"allow\":[],\"block\":\"@host\"}}", CONTROL_INVALID_PARAMS, "a");
	refuses(SET "{\"allow\":[],\"block\":[1]}}", CONTROL_INVALID_PARAMS, "a");
	refuses(SET "{\"allow\":[],\"block\":[\"@host,10.0.0.0/8\"]}}", CONTROL_INVALID_PARAMS,
		"a");
	refuses(SET "{\"allow\":[],\"block\":[],\"more\":1}}", CONTROL_INVALID_PARAMS, "a");
	refuses(SET "{\"allow\":[],\"block\":[],\"desiredRevision\":\"1\"}}",
		CONTROL_INVALID_PARAMS, "a");
	refuses(SET "{\"allow\":[],\"block\":[],\"desiredRevision\":-1}}", CONTROL_INVALID_PARAMS,
		"a");
}

static void test_deep_and_wide(void **state)
{
	auto_str deep = STR_INIT, wide = STR_INIT, id = STR_INIT, targets = STR_INIT;

	(void)state;
	for (int i = 0; i < 10000; i++)
		str_addc(&deep, '[');
	refuses(deep.ptr, CONTROL_PARSE, NULL);
	str_adds(&wide, "{\"id\":[1");
	for (int i = 0; i < JSON_VALUES_MAX; i++)
		str_adds(&wide, ",1");
	str_adds(&wide, "]}");
	refuses(wide.ptr, CONTROL_INVALID_REQUEST, NULL);
	str_adds(&id, "{\"jsonrpc\":\"2.0\",\"method\":\"softnet.policy.get\",\"id\":\"");
	for (int i = 0; i <= CONTROL_ID_MAX; i++)
		str_addc(&id, 'i');
	str_adds(&id, "\"}");
	refuses(id.ptr, CONTROL_INVALID_REQUEST, NULL);
	str_adds(&targets, SET "{\"allow\":[\"10.0.0.0/8\"],\"block\":[\"@host\"");
	for (int i = 1; i < POLICY_TARGETS_MAX; i++)
		str_adds(&targets, ",\"@host\"");
	str_adds(&targets, "]}}");
	refuses(targets.ptr, CONTROL_INVALID_PARAMS, "a");
}

static void test_get(void **state)
{
	struct control control = CONTROL_INIT;
	struct control_policy now = policy();

	(void)state;
	add(&control, GET "}\r\n" GET ",\"params\":{}}\n");
	for (int i = 0; i < 2; i++) {
		auto_control_request request = CONTROL_REQUEST_INIT;
		auto_json *answer = NULL;
		const json_t *result;

		assert_true(control_take(&control, &request));
		assert_false(request.set);
		control_answer(&control, &request, &now);
		assert_int_equal(take_answer(&control, &answer), 0);
		result = json_object_get(answer, "result");
		assert_int_equal(json_object_size(result), 5);
		assert_int_equal(json_array_size(json_object_get(result, "allow")), 2);
		assert_int_equal(json_array_size(json_object_get(result, "block")), 1);
		assert_true(json_is_null(json_object_get(result, "desiredRevision")));
		assert_int_equal(json_integer_value(json_object_get(result, "ruleCount")), 2);
		assert_true(json_is_true(json_object_get(result, "bridgeIsolation")));
	}
	control_release(&control);
}

static void test_set(void **state)
{
	struct control control = CONTROL_INIT;
	struct control_policy now = policy();
	auto_control_request request = CONTROL_REQUEST_INIT;
	auto_json *answer = NULL;
	const char *why = NULL;

	(void)state;
	add(&control, "{\"jsonrpc\":\"2.0\",\"id\":-7,\"method\":\"softnet.policy.set\",\"params\":"
		      "{\"allow\":[\"10.0.0.0/8\",\"out @host\"],\"block\":[],"
		      "\"desiredRevision\":9007199254740993}}\n");
	assert_true(control_take(&control, &request));
	assert_true(request.set && request.revised);
	assert_int_equal(request.revision, 9007199254740993);
	assert_int_equal(request.allow.len, 2);
	assert_string_equal(request.allow.items[1], "out @host");
	assert_int_equal(request.block.len, 0);
	assert_int_equal(control_judge(&request, &now, &why), CONTROL_NO_ERROR);
	control_refuse(&control, &request, CONTROL_INTERNAL, "no");
	assert_int_equal(take_answer(&control, &answer), CONTROL_INTERNAL);
	assert_int_equal(json_integer_value(json_object_get(answer, "id")), -7);
	control_release(&control);
}

static int judge(const char *target, bool revised, int64_t revision,
		 const struct control_policy *now)
{
	auto_control_request request = { .set = true, .allow = VEC_INIT, .block = VEC_INIT };
	const char *why = NULL;

	strings_add(&request.allow, target);
	request.revised = revised;
	request.revision = revision;
	return control_judge(&request, now, &why);
}

static void test_judgement(void **state)
{
	struct control_policy now = policy();
	auto_strings all = VEC_INIT;

	(void)state;
	assert_int_equal(judge("@host", true, 0, &now), CONTROL_NO_ERROR);
	now.revised = true;
	now.revision = 5;
	assert_int_equal(judge("@host", true, 5, &now), CONTROL_REVISION);
	assert_int_equal(judge("@host", true, 4, &now), CONTROL_REVISION);
	assert_int_equal(judge("@host", true, 6, &now), CONTROL_NO_ERROR);
	assert_int_equal(judge("@host", false, 0, &now), CONTROL_NO_ERROR);
	assert_int_equal(judge("0.0.0.0/0", false, 0, &now), CONTROL_ISOLATION);
	assert_int_equal(judge("10.0.0.0/0", false, 0, &now), CONTROL_ISOLATION);
	assert_int_equal(judge("0.0.0.0/0:80", false, 0, &now), CONTROL_NO_ERROR);
	strings_add(&all, "0.0.0.0/0");
	now.allow = &all;
	assert_int_equal(judge("@host", false, 0, &now), CONTROL_ISOLATION);
	assert_int_equal(judge("0.0.0.0/0", false, 0, &now), CONTROL_NO_ERROR);
}

/* Feed it without an end, a piece at a time, as a socket does. */
static void test_endless_line(void **state)
{
	struct control control = CONTROL_INIT;
	auto_control_request request = CONTROL_REQUEST_INIT;
	auto_json *answer = NULL;
	static char piece[64 * 1024];

	(void)state;
	memset(piece, ' ', sizeof(piece));
	for (int i = 0; i < 100; i++) {
		assert_true(control_wants_input(&control));
		control_add(&control, piece, sizeof(piece));
		assert_false(control_take(&control, &request));
		assert_true(control.input.len <= CONTROL_FRAME_MAX);
	}
	assert_int_equal(take_answer(&control, &answer), CONTROL_PARSE);
	assert_int_equal(control.output.len, 0);
	add(&control, "\n" GET "}\n");
	assert_true(control_take(&control, &request));
	control_release(&control);
}

/* The limit itself passes; one byte more does not, and the next frame is read. */
static void test_longest_frame(void **state)
{
	struct control control = CONTROL_INIT;
	auto_json *answer = NULL;

	(void)state;
	for (size_t extra = 0; extra < 2; extra++) {
		auto_control_request request = CONTROL_REQUEST_INIT;
		auto_str frame = STR_INIT;

		str_adds(&frame, GET);
		while (frame.len < CONTROL_FRAME_MAX - 1 + extra)
			str_addc(&frame, ' ');
		str_adds(&frame, "}\n" GET "}\n");
		control_add(&control, frame.ptr, frame.len);
		assert_true(control_take(&control, &request));
		assert_int_equal(control.output.len != 0, extra == 1);
		control_request_release(&request);
		assert_int_equal(control_take(&control, &request), extra == 0);
	}
	assert_int_equal(take_answer(&control, &answer), CONTROL_PARSE);
	control_release(&control);
}

/* A peer that asks and never reads holds no more than the bound. */
static void test_slow_reader(void **state)
{
	struct control control = CONTROL_INIT;
	auto_strings many = VEC_INIT;
	struct control_policy now = { .allow = &many, .block = &block };
	size_t taken = 0, asked = 0;

	(void)state;
	for (int i = 0; i < POLICY_TARGETS_MAX; i++)
		strings_addf(&many, "10.%d.%d.0/24", i / 256, i % 256);
	for (; control_wants_input(&control); asked++)
		add(&control, GET "}\n");
	for (bool found = true; found;) {
		auto_control_request request = CONTROL_REQUEST_INIT;

		found = control_take(&control, &request);
		if (found)
			control_answer(&control, &request, &now);
		taken += found;
		assert_true(control.output.len <= CONTROL_OUTPUT_MAX);
	}
	assert_true(taken > 1 && taken < asked);
	str_reset(&control.output); /* it reads at last */
	for (bool found = true; found;) {
		auto_control_request request = CONTROL_REQUEST_INIT;

		found = control_take(&control, &request);
		taken += found;
	}
	assert_int_equal(taken, asked);
	control_release(&control);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mistakes),      cmocka_unit_test(test_deep_and_wide),
		cmocka_unit_test(test_get),	      cmocka_unit_test(test_set),
		cmocka_unit_test(test_judgement),     cmocka_unit_test(test_endless_line),
		cmocka_unit_test(test_longest_frame), cmocka_unit_test(test_slow_reader),
	};
	int r;

	strings_add(&allow, "@host");
	strings_add(&allow, "10.0.0.0/8");
	strings_add(&block, "10.0.0.0/8");
	r = cmocka_run_group_tests(tests, NULL, NULL);
	strings_release(&allow);
	strings_release(&block);
	return r;
}
