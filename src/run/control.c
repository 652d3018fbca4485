/* SPDX-License-Identifier: Apache-2.0 */
#include "run/control.h"

#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "net/policy.h"

void control_release(struct control *control)
{
	str_release(&control->input);
	str_release(&control->output);
}

void control_request_release(struct control_request *request)
{
	json_decref(request->id);
	strings_release(&request->allow);
	strings_release(&request->block);
	*request = (struct control_request)CONTROL_REQUEST_INIT;
}

bool control_wants_input(const struct control *control)
{
	return control->input.len - control->start <= CONTROL_FRAME_MAX;
}

void control_add(struct control *control, const void *bytes, size_t len)
{
	/* here and not for each frame: there may be very many in what was read at once */
	str_consume(&control->input, control->start);
	control->scanned -= control->start;
	control->start = 0;
	str_add(&control->input, bytes, len);
}

/* @member: owned by the answer from now on. */
static void answer(struct control *control, json_t *id, const char *name, json_t *member)
{
	auto_json *object = json_object();

	(void)json_object_set_new(object, "jsonrpc", json_string("2.0"));
	(void)json_object_set_new(object, name, member);
	(void)json_object_set_new(object, "id", id ? json_incref(id) : json_null());
	json_add_compact(&control->output, object);
	str_addc(&control->output, '\n');
}

static void answer_error(struct control *control, json_t *id, int code, const char *why)
{
	json_t *error = json_object();
	json_t *text = json_string(why);

	(void)json_object_set_new(error, "code", json_integer(code));
	/* an error may quote a target that was cut within a character */
	(void)json_object_set_new(error, "message", text ? text : json_string("invalid"));
	answer(control, id, "error", error);
}

void control_refuse(struct control *control, const struct control_request *request, int code,
		    const char *why)
{
	answer_error(control, request->id, code, why);
}

static json_t *format_list(const struct strings *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->len; i++)
		(void)json_array_append_new(array, json_string(list->items[i]));
	return array;
}

/* Different targets, whichever list they are in. */
static size_t count_rules(const struct control_policy *policy)
{
	auto_strings all = VEC_INIT;
	size_t count = 0;

	for (size_t i = 0; i < policy->allow->len; i++)
		strings_add(&all, policy->allow->items[i]);
	for (size_t i = 0; i < policy->block->len; i++)
		strings_add(&all, policy->block->items[i]);
	strings_sort(&all);
	for (size_t i = 0; i < all.len; i++)
		count += i == 0 || strcmp(all.items[i], all.items[i - 1]) != 0;
	return count;
}

void control_answer(struct control *control, const struct control_request *request,
		    const struct control_policy *policy)
{
	json_t *result = json_object();

	(void)json_object_set_new(result, "allow", format_list(policy->allow));
	(void)json_object_set_new(result, "block", format_list(policy->block));
	(void)json_object_set_new(result, "desiredRevision",
				  policy->revised ? json_integer(policy->revision) : json_null());
	(void)json_object_set_new(result, "ruleCount",
				  json_integer((json_int_t)count_rules(policy)));
	(void)json_object_set_new(result, "bridgeIsolation",
				  json_boolean(!control_opens_bridge(policy->allow)));
	answer(control, request->id, "result", result);
}

bool control_opens_bridge(const struct strings *allow)
{
	for (size_t i = 0; i < allow->len; i++)
		if (str_ends(allow->items[i], "/0"))
			return true;
	return false;
}

int control_judge(const struct control_request *request, const struct control_policy *now,
		  const char **why)
{
	if (request->revised && now->revised && request->revision <= now->revision) {
		*why = "desiredRevision does not grow";
		return CONTROL_REVISION;
	}
	if (control_opens_bridge(&request->allow) != control_opens_bridge(now->allow)) {
		*why = "bridge isolation cannot be changed while the VM runs";
		return CONTROL_ISOLATION;
	}
	return CONTROL_NO_ERROR;
}

/* Has @object no other members than those of @keys (ends with NULL)? */
static bool has_only(const json_t *object, const char *const *keys)
{
	size_t known = 0;

	for (; *keys; keys++)
		known += json_object_get(object, *keys) != NULL;
	return known == json_object_size(object);
}

/* Append the strings of array @key. Return: are they all targets? */
static bool read_list(const json_t *params, const char *key, struct strings *list)
{
	const json_t *array = json_object_get(params, key);

	if (!json_is_array(array) || json_array_size(array) > POLICY_TARGETS_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const char *target = json_string_value(json_array_get(array, i));

		if (!target || strchr(target, ','))
			return false;
		strings_add(list, target);
	}
	return true;
}

static bool read_revision(const json_t *params, struct control_request *request)
{
	struct error ignored = ERROR_INIT;
	int r = json_get_int(params, "desiredRevision", 0, INT64_MAX, &request->revision, &ignored);

	request->revised = r > 0;
	return r >= 0;
}

static int read_set(const json_t *params, struct control_request *request, const char **why)
{
	static const char *const keys[] = { "allow", "block", "desiredRevision", NULL };

	request->set = true;
	*why = "softnet.policy.set wants allow and block, arrays of targets, and at most a "
	       "desiredRevision, a number from 0 up";
	if (!json_is_object(params) || !has_only(params, keys) ||
	    !read_list(params, "allow", &request->allow) ||
	    !read_list(params, "block", &request->block) || !read_revision(params, request))
		return CONTROL_INVALID_PARAMS;
	if (request->allow.len + request->block.len > POLICY_TARGETS_MAX) {
		*why = "too many targets";
		return CONTROL_INVALID_PARAMS;
	}
	return CONTROL_NO_ERROR;
}

static int read_get(const json_t *params, const char **why)
{
	*why = "softnet.policy.get has no parameters";
	if (!params || json_is_null(params) ||
	    (json_is_object(params) && json_object_size(params) == 0))
		return CONTROL_NO_ERROR;
	return CONTROL_INVALID_PARAMS;
}

static bool is_id(const json_t *id)
{
	return json_is_integer(id) ||
	       (json_is_string(id) && json_string_length(id) <= CONTROL_ID_MAX);
}

static int read_request(json_t *object, struct control_request *request, const char **why)
{
	static const char *const keys[] = { "jsonrpc", "id", "method", "params", NULL };
	const char *version = json_string_value(json_object_get(object, "jsonrpc"));
	const char *method = json_string_value(json_object_get(object, "method"));
	const json_t *params = json_object_get(object, "params");
	json_t *id = json_object_get(object, "id");

	if (is_id(id))
		request->id = json_incref(id);
	*why = "not a JSON-RPC 2.0 request with an id";
	if (!request->id || !version || strcmp(version, "2.0") != 0 || !method ||
	    !has_only(object, keys))
		return CONTROL_INVALID_REQUEST;
	if (strcmp(method, "softnet.policy.get") == 0)
		return read_get(params, why);
	if (strcmp(method, "softnet.policy.set") == 0)
		return read_set(params, request, why);
	*why = "no such method";
	return CONTROL_NO_METHOD;
}

/* What could not be read: is it no JSON at all, or JSON that is no request? */
static int judge_text(const char *text, size_t len)
{
	struct error ignored = ERROR_INIT;
	struct json_scan scan;
	auto_json *utf8 = json_stringn(text, len);

	json_scan_begin(&scan, text, len);
	if (!utf8 || json_scan_skip(&scan, &ignored) < 0 || json_scan_end(&scan, &ignored) < 0)
		return CONTROL_PARSE;
	return CONTROL_INVALID_REQUEST;
}

/* Return: is it a request? Else it is answered. */
static bool read_frame(struct control *control, const char *text, size_t len,
		       struct control_request *request)
{
	auto_json *object = NULL;
	struct error err = ERROR_INIT;
	const char *why = err.text;
	int code;

	if (json_parse_object(text, len, &object, &err) < 0)
		code = judge_text(text, len);
	else
		code = read_request(object, request, &why);
	if (code == CONTROL_NO_ERROR)
		return true;
	answer_error(control, request->id, code, why);
	control_request_release(request);
	return false;
}

/* Throw away what is too long. */
static void discard(struct control *control)
{
	if (!control->discarding)
		answer_error(control, NULL, CONTROL_PARSE, "the frame is too long");
	control->discarding = true;
	control->start = control->scanned = 0;
	str_reset(&control->input);
}

/* Where the first frame of the input ends. Return: false where it has not come to its end. */
static bool find_frame(struct control *control, size_t *len)
{
	const char *from = control->input.ptr + control->scanned;
	const char *newline = memchr(from, '\n', control->input.len - control->scanned);

	if (newline) {
		*len = (size_t)(newline - control->input.ptr) - control->start;
		return true;
	}
	control->scanned = control->input.len;
	if (control->discarding || !control_wants_input(control))
		discard(control);
	return false;
}

bool control_take(struct control *control, struct control_request *request)
{
	bool found = false;
	size_t len, start;

	/* with the answer to one more, which says no more than a request can, the output stays
	 * within its bound */
	while (!found && control->output.len <= CONTROL_FRAME_MAX && find_frame(control, &len)) {
		start = control->start;
		control->start = control->scanned = start + len + 1;
		if (control->discarding)
			control->discarding = false;
		else if (len > CONTROL_FRAME_MAX)
			answer_error(control, NULL, CONTROL_PARSE, "the frame is too long");
		else
			found = read_frame(control, control->input.ptr + start, len, request);
	}
	return found;
}
