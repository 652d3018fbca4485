/* SPDX-License-Identifier: Apache-2.0 */

/* A real client against the real server, through memory; the commands are real too. */

#include "agent/server.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "agent/call.h"
#include "agent/login.h"
#include "agent/loop.h"
#include "agent/proto.h"
#include "base/error.h"
#include "base/mem.h"

struct talk {
	struct loop *loop;
	struct login *login;
	struct server *server;
	struct call *call;
	struct timer limit;
	struct str out, err;
	int code; /* -1: no exit came */
	bool leaves; /* does not read the output, and goes when the command has ended */
	bool detach;
	unsigned pieces;
};

static int message(void *arg, struct slice bytes, struct error *err)
{
	struct talk *talk = arg;
	struct proto_response response;

	if (proto_parse_response(bytes, &response) < 0)
		return error_set(err, E_PROTOCOL, "malformed");
	if (response.kind == PROTO_RESPONSE_EXIT)
		talk->code = response.code;
	else
		str_add(response.kind == PROTO_RESPONSE_OUTPUT ? &talk->out : &talk->err,
			response.output.ptr, response.output.len);
	return 0;
}

/* When the first output is told, wait for the command's end; when it was seen, go. */
static void leave(struct talk *talk)
{
	siginfo_t info;

	talk->pieces++;
	if (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0)
		return;
	assert_int_equal(errno, ECHILD);
	server_free(talk->server);
	talk->server = NULL;
	loop_quit(talk->loop);
}

/* Carry bytes both ways until nothing moves. */
static void pump(void *arg)
{
	struct talk *talk = arg;
	struct error err = ERROR_INIT;
	bool more = true;

	if (talk->leaves) {
		leave(talk);
		return;
	}
	while (more) {
		struct slice out = call_output(talk->call);
		const uint8_t *bytes;
		ssize_t n;

		more = out.len != 0;
		if (out.len) {
			assert_int_equal(server_receive(talk->server, out.ptr, out.len), 0);
			call_sent(talk->call, out.len);
		}
		n = server_output(talk->server, &bytes);
		assert_true(n >= 0);
		if (n > 0)
			assert_int_equal(call_receive(talk->call, bytes, (size_t)n, &err), 0);
		more |= n > 0;
	}
	if (call_is_done(talk->call))
		loop_quit(talk->loop);
}

static void too_long(struct timer *timer unused_)
{
	fail_msg("nothing happened for a minute");
}

static int setup(void **state)
{
	struct talk *talk = xcalloc(1, sizeof(*talk));

	(void)signal(SIGPIPE, SIG_IGN);
	talk->out = talk->err = (struct str)STR_INIT;
	talk->code = -1;
	talk->loop = loop_new();
	/* root's own profile may wait for anything; nobody has no shell */
	talk->login = login_new(talk->loop, "nobody");
	talk->server = server_new(talk->loop, talk->login, pump, talk);
	talk->limit.fire = too_long;
	loop_timer(talk->loop, &talk->limit, 60000);
	*state = talk;
	return 0;
}

static int teardown(void **state)
{
	struct talk *talk = *state;

	loop_timer_stop(talk->loop, &talk->limit);
	server_free(talk->server);
	call_free(talk->call);
	login_free(talk->login);
	loop_free(talk->loop);
	str_release(&talk->out);
	str_release(&talk->err);
	free(talk);
	return 0;
}

static struct slice text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

/* sh -c @script in the call of @talk. */
static void start_shell(struct talk *talk, const char *script, bool interactive, bool tty)
{
	auto_proto_command command = PROTO_COMMAND_INIT;

	command.name = text("/bin/sh");
	slices_add(&command.args, text("-c"));
	slices_add(&command.args, text(script));
	command.interactive = interactive;
	command.tty = tty;
	command.detach = talk->detach;
	slices_add(&command.env, text("GIVEN"));
	slices_add(&command.env, text("by the client"));
	command.workdir = text("/");
	talk->call = call_new(PROTO_PATH_EXEC, message, talk);
	proto_add_command(call_request(talk->call), &command);
	call_request_added(talk->call);
}

static void finish(struct talk *talk)
{
	pump(talk);
	loop_run(talk->loop);
}

static void output_error_and_code(void **state)
{
	struct talk *talk = *state;

	start_shell(talk, "echo out; echo err >&2; pwd; echo $GIVEN; exit 42", false, false);
	finish(talk);
	assert_string_equal(talk->out.ptr, "out\n/\nby the client\n");
	assert_string_equal(talk->err.ptr, "err\n");
	assert_int_equal(talk->code, 42);
}

static void death_by_signal(void **state)
{
	start_shell(*state, "kill -TERM $$", false, false);
	finish(*state);
	assert_int_equal(((struct talk *)*state)->code, 128 + SIGTERM);
}

static void input_arrives(void **state)
{
	struct talk *talk = *state;

	start_shell(talk, "cat; echo end", true, false);
	proto_add_input(call_request(talk->call), "some input\n", 11);
	proto_add_input(call_request(talk->call), NULL, 0);
	call_request_added(talk->call);
	finish(talk);
	assert_string_equal(talk->out.ptr, "some input\nend\n");
}

static void no_input_unless_asked_for(void **state)
{
	struct talk *talk = *state;

	start_shell(talk, "cat", false, false);
	finish(talk);
	assert_int_equal(talk->code, 0);
	assert_int_equal(talk->out.len, 0);
}

static void a_terminal(void **state)
{
	struct talk *talk = *state;

	start_shell(talk, "test -t 0 && test -t 2 && stty size", false, true);
	finish(talk);
	assert_int_equal(talk->code, 0);
	assert_string_equal(talk->out.ptr, "24 80\r\n");
}

static void a_daemon_does_not_hold_the_call(void **state)
{
	struct talk *talk = *state;
	uint64_t pid;

	start_shell(talk, "sleep 600 & echo $!", false, false);
	finish(talk);
	assert_int_equal(talk->code, 0);
	assert_true(talk->out.len > 1);
	str_chop(&talk->out, 1);
	assert_int_equal(str_to_u64(talk->out.ptr, INT32_MAX, &pid), 0);
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0); /* it still ran */
}

/* What cannot be started is told, also of a command that nobody would wait for. */
static void no_descriptors_for_a_detached_command(void **state)
{
	struct talk *talk = *state;
	struct rlimit before, none;

	talk->detach = true;
	start_shell(talk, "true", false, false);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 3, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	finish(talk);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_non_null(strstr(talk->err.ptr, "cannot start a process"));
	assert_int_equal(talk->code, 126);
}

static void a_slow_client_gets_all(void **state)
{
	struct talk *talk = *state;

	start_shell(talk, "head -c 3000000 /dev/zero", false, false);
	finish(talk);
	assert_int_equal(talk->out.len, 3000000);
	assert_int_equal(talk->code, 0);
}

static void a_client_that_goes_while_it_is_told(void **state)
{
	struct talk *talk = *state;

	start_shell(talk, "head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2", false, false);
	pump(talk);
	talk->leaves = true;
	loop_run(talk->loop);
	assert_null(talk->server);
	assert_true(talk->pieces > 1);
}

static void another_method_is_refused(void **state)
{
	struct talk *talk = *state;
	struct error err = ERROR_INIT;

	talk->call = call_new("/Agent/Format", message, talk);
	call_request_ends(talk->call);
	finish(talk);
	assert_int_equal(call_status(talk->call, &err), -E_FAILED);
	assert_non_null(strstr(err.text, "no such method"));
}

static void input_before_the_command_is_refused(void **state)
{
	struct talk *talk = *state;
	struct error err = ERROR_INIT;

	talk->call = call_new(PROTO_PATH_EXEC, message, talk);
	proto_add_input(call_request(talk->call), "x", 1);
	call_request_added(talk->call);
	finish(talk);
	assert_int_equal(call_status(talk->call, &err), -E_FAILED);
}

static void what_is_not_http2_is_refused(void **state)
{
	struct talk *talk = *state;
	static const uint8_t bytes[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

	talk->call = call_new(PROTO_PATH_EXEC, message, talk);
	assert_int_equal(server_receive(talk->server, bytes, sizeof(bytes) - 1), -E_PROTOCOL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(output_error_and_code),
		TEST(death_by_signal),
		TEST(input_arrives),
		TEST(no_input_unless_asked_for),
		TEST(a_terminal),
		TEST(a_daemon_does_not_hold_the_call),
		TEST(no_descriptors_for_a_detached_command),
		TEST(a_slow_client_gets_all),
		TEST(a_client_that_goes_while_it_is_told),
		TEST(another_method_is_refused),
		TEST(input_before_the_command_is_refused),
		TEST(what_is_not_http2_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
