/* SPDX-License-Identifier: Apache-2.0 */

/* The relay between a client's socket and a guest played by a link of the other role. */

#include "agent/relay.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/frame.h"
#include "base/error.h"
#include "base/mem.h"

struct stage {
	uv_loop_t loop;
	struct relay *relay;
	unsigned ready, lost, hangup, ended;
	char path[64];
	int port; /* the guest's end */
	struct frame_link *guest;
	struct frame_stream *stream; /* the last one opened */
	struct str got;
	bool consume;
};

static void up(void *arg unused_)
{
}

static void *opened(void *arg, struct frame_stream *stream)
{
	((struct stage *)arg)->stream = stream;
	return arg;
}

static void data(void *owner, const uint8_t *bytes, size_t len)
{
	struct stage *stage = owner;

	str_add(&stage->got, bytes, len);
	if (stage->consume)
		frame_consumed(stage->stream, len);
}

static void ended(void *owner)
{
	((struct stage *)owner)->ended++;
}

static void closed(void *owner, bool clean unused_)
{
	((struct stage *)owner)->stream = NULL;
}

static const struct frame_events events = { up, up, opened, data, ended, up, closed };

static void on_event(void *arg, enum relay_event event)
{
	struct stage *stage = arg;

	if (event == RELAY_READY)
		stage->ready++;
	else if (event == RELAY_LOST)
		stage->lost++;
	else
		stage->hangup++;
}

/* Let everybody do what there is to do. */
static void settle(struct stage *stage)
{
	static uint8_t buffer[65536];

	for (unsigned idle = 0; idle < 5;) {
		struct slice out = frame_output(stage->guest);
		ssize_t n = out.len ? write(stage->port, out.ptr, out.len) : 0;

		idle++;
		if (n > 0) {
			frame_sent(stage->guest, (size_t)n);
			idle = 0;
		}
		n = read(stage->port, buffer, sizeof(buffer));
		if (n > 0) {
			assert_int_equal(frame_receive(stage->guest, buffer, (size_t)n), 0);
			idle = 0;
		}
		(void)uv_run(&stage->loop, UV_RUN_NOWAIT);
	}
}

static int listen_at(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(fd, 300), 0);
	return fd;
}

static int client(struct stage *stage)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", stage->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static int setup(void **state)
{
	struct stage *stage = xcalloc(1, sizeof(*stage));
	struct error err = ERROR_INIT;
	int pair[2];

	stage->got = (struct str)STR_INIT;
	stage->consume = true;
	(void)snprintf(stage->path, sizeof(stage->path), "/tmp/linzer-test-relay.%d", getpid());
	(void)unlink(stage->path);
	assert_int_equal(uv_loop_init(&stage->loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	stage->port = pair[1];
	(void)fcntl(stage->port, F_SETFL, O_NONBLOCK);
	stage->guest = frame_link_new(FRAME_GUEST, &events, stage);
	assert_int_equal(relay_new(&stage->loop, pair[0], listen_at(stage->path), NULL, on_event,
				   stage, &stage->relay, &err),
			 0);
	*state = stage;
	return 0;
}

static int teardown(void **state)
{
	struct stage *stage = *state;

	relay_close(stage->relay);
	assert_int_equal(uv_run(&stage->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&stage->loop), 0); /* no handle is left */
	(void)unlink(stage->path);
	frame_link_free(stage->guest);
	str_release(&stage->got);
	if (stage->port >= 0)
		(void)close(stage->port);
	free(stage);
	return 0;
}

static void connect_guest(struct stage *stage)
{
	frame_start(stage->guest);
	settle(stage);
	assert_true(stage->ready > 0);
}

static bool is_closed(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_PEEK) == 0;
}

static void bytes_go_both_ways(void **state)
{
	struct stage *stage = *state;
	char answer[16] = { 0 };
	int fd;

	connect_guest(stage);
	fd = client(stage);
	assert_int_equal(write(fd, "question", 8), 8);
	settle(stage);
	assert_string_equal(stage->got.ptr, "question");
	frame_send(stage->stream, "answer", 6);
	frame_end(stage->stream);
	settle(stage);
	assert_int_equal(read(fd, answer, sizeof(answer)), 6);
	assert_string_equal(answer, "answer");
	assert_true(is_closed(fd));
	(void)close(fd);
}

static void a_client_waits_for_the_agent(void **state)
{
	struct stage *stage = *state;
	int fd = client(stage);

	assert_int_equal(write(fd, "early", 5), 5);
	settle(stage);
	assert_int_equal(stage->ready, 0);
	connect_guest(stage);
	assert_string_equal(stage->got.ptr, "early");
	(void)close(fd);
	settle(stage);
	assert_int_equal(stage->ended, 1);
}

static void a_lost_agent_closes_its_clients(void **state)
{
	struct stage *stage = *state;
	int fd;

	connect_guest(stage);
	fd = client(stage);
	settle(stage);
	assert_non_null(stage->stream);
	frame_start(stage->guest); /* the guest rebooted */
	settle(stage);
	assert_int_equal(stage->lost, 1);
	assert_int_equal(stage->ready, 2);
	assert_true(is_closed(fd));
	(void)close(fd);
}

static void a_guest_that_breaks_the_rules_is_lost(void **state)
{
	struct stage *stage = *state;
	int fd;

	connect_guest(stage);
	fd = client(stage);
	settle(stage);
	assert_int_equal(write(stage->port, "\377\377\377\377\377\377\377\377", 8), 8);
	for (unsigned i = 0; i < 3; i++)
		(void)uv_run(&stage->loop, UV_RUN_NOWAIT);
	assert_int_equal(stage->lost, 1);
	assert_true(is_closed(fd));
	(void)close(fd);
}

static void a_closed_port_is_told_once(void **state)
{
	struct stage *stage = *state;
	int fd;

	connect_guest(stage);
	fd = client(stage);
	settle(stage);
	(void)close(take_fd(&stage->port));
	for (unsigned i = 0; i < 3; i++)
		(void)uv_run(&stage->loop, UV_RUN_NOWAIT);
	assert_int_equal(stage->hangup, 1);
	assert_int_equal(stage->lost, 0);
	assert_true(is_closed(fd));
	(void)close(fd);
}

static void a_stalled_client_delays_no_other(void **state)
{
	struct stage *stage = *state;
	static char big[FRAME_WINDOW];
	struct frame_stream *stalled;
	char byte;
	int slow, fast;

	connect_guest(stage);
	slow = client(stage);
	settle(stage);
	stalled = stage->stream;
	while (frame_room(stalled)) { /* until its socket and window are full */
		frame_send(stalled, big, frame_room(stalled));
		settle(stage);
	}
	fast = client(stage);
	settle(stage);
	assert_ptr_not_equal(stage->stream, stalled);
	frame_send(stage->stream, "!", 1);
	settle(stage);
	assert_int_equal(read(fast, &byte, 1), 1);
	assert_int_equal(byte, '!');
	(void)close(fast);
	(void)close(slow);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_go_both_ways),
		TEST(a_client_waits_for_the_agent),
		TEST(a_lost_agent_closes_its_clients),
		TEST(a_guest_that_breaks_the_rules_is_lost),
		TEST(a_closed_port_is_told_once),
		TEST(a_stalled_client_delays_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
