/* SPDX-License-Identifier: Apache-2.0 */

/* The client's calls against agents that answer well, badly, or for ever. */

#include "agent/client.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/proto.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

enum { SHORT_MS = 200, LONG_MS = 60000 };

/* Frames of an agent (RFC 9113): settings; ":status 200" of stream 1; a frame that means nothing.
 */
#define SETTINGS "\0\0\0\4\0\0\0\0\0"
#define OK_HEADERS "\0\0\1\1\4\0\0\0\1\x88"
#define OK_TRAILERS "\0\0\x0f\1\5\0\0\0\1\0\x0bgrpc-status\0010"
#define UNKNOWN "\0\0\0\x20\0\0\0\0\0"

struct stage {
	int ours, agents;
	struct in_addr address;
	struct error err;
};

static int setup(void **state)
{
	struct stage *stage = xcalloc(1, sizeof(*stage));
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	stage->ours = fds[0];
	stage->agents = fds[1];
	*state = stage;
	return 0;
}

static int teardown(void **state)
{
	struct stage *stage = *state;

	(void)close(stage->ours);
	(void)close(stage->agents);
	free(stage);
	return 0;
}

static void say(struct stage *stage, const char *bytes, size_t len)
{
	assert_int_equal(write(stage->agents, bytes, len), len);
}

static int resolve(struct stage *stage, unsigned timeout_ms)
{
	return client_resolve_ip(stage->ours, timeout_ms, &stage->address, &stage->err);
}

/* The agent's answer is @address. */
static int answer(struct stage *stage, const char *address)
{
	auto_str message = STR_INIT;
	char header[9] = { 0, 0, 0, 0, 0, 0, 0, 0, 1 };

	proto_add_address(&message, address);
	header[2] = (char)message.len;
	say(stage, SETTINGS OK_HEADERS, sizeof(SETTINGS OK_HEADERS) - 1);
	say(stage, header, sizeof(header));
	say(stage, message.ptr, message.len);
	say(stage, OK_TRAILERS, sizeof(OK_TRAILERS) - 1);
	return resolve(stage, LONG_MS);
}

static void an_address(void **state)
{
	struct stage *stage = *state;

	assert_int_equal(answer(stage, "192.168.64.7"), 0);
	assert_int_equal(ntohl(stage->address.s_addr), 0xc0a84007);
}

static void what_is_no_address(void **state)
{
	assert_int_equal(answer(*state, "$(reboot)"), -E_PROTOCOL);
}

/* Whoever trusts `ssh $(linzer ip vm)` is not sent to his own host. */
static void an_address_of_the_host_itself(void **state)
{
	assert_int_equal(answer(*state, "127.0.0.1"), -E_PROTOCOL);
}

static void nobody_there(void **state)
{
	struct stage *stage = *state;

	assert_int_equal(shutdown(stage->agents, SHUT_RDWR), 0);
	assert_int_equal(resolve(stage, LONG_MS), -ENOTCONN);
}

static void silence(void **state)
{
	assert_int_equal(resolve(*state, SHORT_MS), -ETIMEDOUT);
}

static void silence_to_a_command(void **state)
{
	static const char *const argv[] = { "true", NULL };
	const struct client_exec how = { .argv = argv, .answer_ms = SHORT_MS };
	struct stage *stage = *state;

	assert_int_equal(client_exec(stage->ours, &how, &stage->err), -ENOTCONN);
}

static void *talk_for_ever(void *arg)
{
	struct stage *stage = arg;
	char dropped[4096];

	say(stage, SETTINGS, sizeof(SETTINGS) - 1);
	while (send(stage->agents, UNKNOWN, sizeof(UNKNOWN) - 1, MSG_NOSIGNAL) > 0)
		while (recv(stage->agents, dropped, sizeof(dropped), MSG_DONTWAIT) > 0)
			;
	return NULL;
}

static void talk_without_end(void **state)
{
	struct stage *stage = *state;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, talk_for_ever, stage), 0);
	assert_int_equal(resolve(stage, SHORT_MS), -ETIMEDOUT);
	assert_int_equal(shutdown(stage->ours, SHUT_RDWR), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_address),
		TEST(what_is_no_address),
		TEST(an_address_of_the_host_itself),
		TEST(nobody_there),
		TEST(silence),
		TEST(silence_to_a_command),
		TEST(talk_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
