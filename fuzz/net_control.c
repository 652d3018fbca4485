/* SPDX-License-Identifier: Apache-2.0 */

/* The control channel (src/run/control.c), fed in pieces: the first byte says how large. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "net/policy.h"
#include "run/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Answers are whole lines, and no more than the peer can be made to hold. */
static void check_output(const struct control *control)
{
	assert(control->output.len <= CONTROL_OUTPUT_MAX);
	assert(!control->output.len || control->output.ptr[control->output.len - 1] == '\n');
}

static void check_request(const struct control_request *request)
{
	assert(json_is_string(request->id) || json_is_integer(request->id));
	assert(request->allow.len + request->block.len <= POLICY_TARGETS_MAX);
	assert(request->set || (!request->allow.len && !request->block.len && !request->revised));
}

static void serve(struct control *control, struct control_policy *now)
{
	for (;;) {
		auto_control_request request = CONTROL_REQUEST_INIT;
		const char *why = NULL;
		int code;

		if (!control_take(control, &request))
			return;
		check_request(&request);
		code = request.set ? control_judge(&request, now, &why) : CONTROL_NO_ERROR;
		assert((code == CONTROL_NO_ERROR) == (why == NULL));
		if (code != CONTROL_NO_ERROR)
			control_refuse(control, &request, code, why);
		else
			control_answer(control, &request, now);
		if (request.set && request.revised && code == CONTROL_NO_ERROR) {
			assert(!now->revised || request.revision > now->revision);
			now->revised = true;
			now->revision = request.revision;
		}
		check_output(control);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control control = CONTROL_INIT;
	auto_strings allow = VEC_INIT, block = VEC_INIT;
	struct control_policy now = { .allow = &allow, .block = &block };
	size_t piece = size ? (size_t)data[0] * 8 + 1 : 1, at = size ? 1 : 0;

	strings_add(&allow, "@host");
	strings_add(&block, "0.0.0.0/0");
	while (at < size && control_wants_input(&control)) {
		size_t n = piece < size - at ? piece : size - at;

		control_add(&control, data + at, n);
		at += n;
		serve(&control, &now);
		check_output(&control);
	}
	control_release(&control);
	return 0;
}
