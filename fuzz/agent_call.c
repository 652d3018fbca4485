/* SPDX-License-Identifier: Apache-2.0 */

/* The bytes of a hostile agent into the client's HTTP/2 and gRPC. */

#include <stddef.h>
#include <stdint.h>

#include "agent/call.h"
#include "agent/proto.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static int message(void *arg unused_, struct slice m, struct error *err)
{
	struct proto_response response;

	if (proto_parse_response(m, &response) < 0)
		return error_set(err, E_PROTOCOL, "malformed");
	return 0;
}

static void drain(struct call *call)
{
	for (unsigned i = 0; i < 64 && call_output(call).len; i++)
		call_sent(call, call_output(call).len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct call *call = call_new(PROTO_PATH_EXEC, message, NULL);
	struct error err = ERROR_INIT;

	proto_add_input(call_request(call), "input", 5);
	call_request_added(call);
	drain(call);
	if (call_receive(call, bytes, len / 2, &err) == 0 && call_wants_input(call)) {
		call_request_ends(call);
		drain(call);
		(void)!call_receive(call, bytes + len / 2, len - len / 2, &err);
	}
	drain(call);
	if (call_is_done(call) && call_has_answered(call))
		(void)!call_status(call, &err);
	call_free(call);
	return 0;
}
