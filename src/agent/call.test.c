/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "agent/proto.h"
#include "base/error.h"

/* Frames of an agent, written by hand (RFC 9113): settings; headers ":status 200" of stream 1. */
#define SETTINGS "\0\0\0\4\0\0\0\0\0"
#define OK_HEADERS "\0\0\1\1\4\0\0\0\1\x88"

static unsigned messages;

static int message(void *arg unused_, struct slice bytes unused_, struct error *err unused_)
{
	messages++;
	return 0;
}

static struct call *new_call(void)
{
	struct call *call = call_new(PROTO_PATH_EXEC, message, NULL);

	messages = 0;
	while (call_output(call).len)
		call_sent(call, call_output(call).len);
	return call;
}

static int receive(struct call *call, const char *bytes, size_t len, struct error *err)
{
	return call_receive(call, (const uint8_t *)bytes, len, err);
}

static void says_hello_first(void **state unused_)
{
	struct call *call = call_new(PROTO_PATH_EXEC, message, NULL);
	struct slice out = call_output(call);

	assert_true(out.len >= 24);
	assert_memory_equal(out.ptr, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	call_free(call);
}

static void not_http2(void **state unused_)
{
	static const char bytes[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
	struct call *call = new_call();
	struct error err = ERROR_INIT;

	if (receive(call, bytes, sizeof(bytes) - 1, &err) == 0) {
		while (call_output(call).len)
			call_sent(call, call_output(call).len);
		assert_true(call_is_done(call));
		assert_int_equal(call_status(call, &err), -E_PROTOCOL);
	}
	assert_int_equal(err.code, E_PROTOCOL);
	assert_false(call_has_answered(call));
	call_free(call);
}

static void messages_come_through(void **state unused_)
{
	static const char bytes[] = SETTINGS OK_HEADERS "\0\0\7\0\0\0\0\0\1"
							"\0\0\0\0\2\x0a\0";
	struct call *call = new_call();
	struct error err = ERROR_INIT;

	assert_int_equal(receive(call, bytes, sizeof(bytes) - 1, &err), 0);
	assert_true(call_has_answered(call));
	assert_int_equal(messages, 1);
	assert_false(call_is_done(call));
	call_free(call);
}

static void messages_are_bounded(void **state unused_)
{
	static const char head[] = SETTINGS OK_HEADERS "\0\0\5\0\0\0\0\0\1"
						       "\0\xff\0\0\0";
	struct call *call = new_call();
	struct error err = ERROR_INIT;

	assert_int_equal(receive(call, head, sizeof(head) - 1, &err), -E_PROTOCOL);
	assert_non_null(strstr(err.text, "too long"));
	call_free(call);
}

static void a_reset_is_no_success(void **state unused_)
{
	static const char bytes[] = SETTINGS OK_HEADERS "\0\0\4\3\0\0\0\0\1\0\0\0\0";
	struct call *call = new_call();
	struct error err = ERROR_INIT;

	assert_int_equal(receive(call, bytes, sizeof(bytes) - 1, &err), 0);
	assert_true(call_is_done(call));
	assert_int_equal(call_status(call, &err), -E_FAILED);
	call_free(call);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_hello_first),	 cmocka_unit_test(not_http2),
		cmocka_unit_test(messages_come_through), cmocka_unit_test(messages_are_bounded),
		cmocka_unit_test(a_reset_is_no_success),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
