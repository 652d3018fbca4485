/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/status.h"

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "oci/http.h"
#include "oci/url.h"

/* {"errors": [{"code": "...", "message": "..."}]}; anything else adds nothing. */
static void add_words(const struct http_response *response, struct str *out)
{
	struct error ignored = ERROR_INIT;
	auto_json *object = NULL;
	const json_t *first;
	const char *code = "", *message = "";

	if (!response->body.len ||
	    json_parse_object(response->body.ptr, response->body.len, &object, &ignored) < 0)
		return;
	first = json_array_get(json_object_get(object, "errors"), 0);
	if (!json_is_object(first) || json_get_string(first, "code", &code, &ignored) < 0 ||
	    json_get_string(first, "message", &message, &ignored) < 0)
		return;
	str_addf(out, ": %.60s%s%.150s", code, *code && *message ? ": " : "", message);
}

void status_add_details(const struct http_request *request, const struct http_response *response,
			struct str *out)
{
	str_addf(out, "%s ", request->method);
	url_add_shown(out, request->url);
	add_words(response, out);
}

int status_error(struct error *err, const char *when, const struct http_request *request,
		 const struct http_response *response)
{
	auto_str details = STR_INIT;

	status_add_details(request, response, &details);
	if (response->status == 401 && request->own_host)
		str_adds(&details, ", see login: the credentials are missing or wrong");
	return error_set(err, E_FAILED,
			 "Error: UnexpectedHTTPStatusCode(when: \"%s\", code: %d, details: \"%s\")",
			 when, response->status, details.ptr);
}

int status_wrap(struct error *err, const struct http_request *request)
{
	auto_str shown = STR_INIT;

	url_add_shown(&shown, request->url);
	return error_wrap(err, "%s %s", request->method, shown.ptr);
}
