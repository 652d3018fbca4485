/* SPDX-License-Identifier: Apache-2.0 */

/* The relay between a client's socket and a guest played by a link of the other role. */

#include "agent/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/dial.h"
#include "agent/frame.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/socket.h"

static unsigned hurry = 1; /* timers run out so many times sooner */
static unsigned rests; /* how often a listener was given a rest, */
static uint64_t rest_ms = SOCKET_REST_MS; /* and for how long */

int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
	if (timeout != SOCKET_REST_MS)
		return __real_uv_timer_start(timer, cb, timeout / hurry, repeat);
	rests++;
	return __real_uv_timer_start(timer, cb, rest_ms, repeat);
}

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
	hurry = 1;
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

/* Fill the way from @fd until nothing more goes. */
static void fill(struct stage *stage, int fd)
{
	static char big[65536];
	int idle = 0;

	while (idle < 100) {
		idle = write(fd, big, sizeof(big)) > 0 ? 0 : idle + 1;
		settle(stage);
	}
}

/* The guest reads nothing of it, so that its end is behind bytes that cannot go. */
static void who_went_leaves_its_stream_though_the_guest_never_reads(void **state)
{
	struct stage *stage = *state;
	int fd;

	stage->consume = false;
	connect_guest(stage);
	fd = client(stage);
	fill(stage, fd);
	assert_non_null(stage->stream);
	hurry = 100;
	(void)close(fd);
	while (stage->stream) /* until it is reset */
		settle(stage);
}

/* The guest answers until the client's socket and window are full. Return: how many bytes. */
static size_t answer_all(struct stage *stage)
{
	static char big[FRAME_WINDOW];
	size_t sent = 0;

	for (size_t room; (room = frame_room(stage->stream)) > 0; sent += room) {
		frame_send(stage->stream, big, room);
		settle(stage);
	}
	return sent;
}

/* The client reads so many bytes, and then the end. */
static void expect_rest(struct stage *stage, int fd, size_t sent)
{
	static char big[FRAME_WINDOW];
	size_t came = 0;
	ssize_t n;

	while ((n = read(fd, big, sizeof(big))) > 0) {
		came += (size_t)n;
		settle(stage);
	}
	assert_int_equal(n, 0);
	assert_int_equal(came, sent);
	(void)close(fd);
}

/* Its own end said, the guest's answer is longer than a socket holds. */
static void who_has_ended_gets_the_rest_of_the_answer(void **state)
{
	struct stage *stage = *state;
	size_t sent;
	int fd;

	connect_guest(stage);
	fd = client(stage);
	settle(stage);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	settle(stage);
	assert_int_equal(stage->ended, 1);
	sent = answer_all(stage);
	frame_end(stage->stream);
	settle(stage);
	assert_null(stage->stream);
	expect_rest(stage, fd, sent);
}

/* Of the new session it is nothing: what it has yet to read is the old one's. */
static void who_still_reads_when_the_agent_comes_back_does_not_join_it(void **state)
{
	struct stage *stage = *state;
	size_t sent;
	int fd;

	connect_guest(stage);
	fd = client(stage);
	settle(stage);
	sent = answer_all(stage);
	frame_start(stage->guest); /* the guest rebooted */
	settle(stage);
	assert_int_equal(stage->ready, 2);
	assert_null(stage->stream);
	expect_rest(stage, fd, sent);
}

/* Who cannot be let in is not asked for again and again, and is let in later. */
static void a_listener_rests_when_no_descriptor_is_left(void **state)
{
	struct stage *stage = *state;
	struct rlimit before, none;
	int fd = client(stage);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 0, before.rlim_max };
	rests = 0;
	rest_ms = 2000; /* so that a slow machine does not get to the second one */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (unsigned i = 0; i < 100; i++)
		(void)uv_run(&stage->loop, UV_RUN_NOWAIT);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(rests, 1);
	connect_guest(stage);
	while (!stage->stream)
		settle(stage);
	(void)close(fd);
}

/* ---- a stock agent beside the port ---- */

struct stock_stage {
	struct stage stage;
	char path[64]; /* where it would listen */
	int listener;
};

static int setup_stock(void **state)
{
	struct stock_stage *s = xcalloc(1, sizeof(*s));
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct dial_address address = { .len = sizeof(name) };
	struct error err = ERROR_INIT;
	int pair[2];

	s->stage.got = (struct str)STR_INIT;
	s->stage.consume = true;
	(void)snprintf(s->stage.path, sizeof(s->stage.path), "/tmp/linzer-test-relay.%d", getpid());
	(void)snprintf(s->path, sizeof(s->path), "/tmp/linzer-test-stock.%d", getpid());
	(void)unlink(s->stage.path);
	(void)unlink(s->path);
	(void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", s->path);
	memcpy(&address.name, &name, sizeof(name));
	s->listener = listen_at(s->path);
	(void)fcntl(s->listener, F_SETFL, O_NONBLOCK);
	assert_int_equal(uv_loop_init(&s->stage.loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s->stage.port = pair[1];
	(void)fcntl(s->stage.port, F_SETFL, O_NONBLOCK);
	s->stage.guest = frame_link_new(FRAME_GUEST, &events, &s->stage);
	assert_int_equal(relay_new(&s->stage.loop, pair[0], listen_at(s->stage.path), &address,
				   on_event, &s->stage, &s->stage.relay, &err),
			 0);
	*state = s;
	return 0;
}

static int teardown_stock(void **state)
{
	const struct stock_stage *s = *state;

	(void)close(s->listener);
	(void)unlink(s->path);
	return teardown(state); /* its stage comes first: the same memory */
}

/* The next connection to the stock agent. */
static int accept_stock(struct stock_stage *s)
{
	int fd = -1;

	while (fd < 0) {
		(void)uv_run(&s->stage.loop, UV_RUN_NOWAIT);
		fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	}
	return fd;
}

/* Run the loop until @fd has something to read. Return: as read(). */
static ssize_t read_from(struct stock_stage *s, int fd, void *bytes, size_t len)
{
	ssize_t n;

	do {
		(void)uv_run(&s->stage.loop, UV_RUN_NOWAIT);
		n = read(fd, bytes, len);
	} while (n < 0 && errno == EAGAIN);
	return n;
}

static void it_is_ready_when_it_speaks_http2(void **state)
{
	struct stock_stage *s = *state;
	char preface[64];
	int fd = accept_stock(s);

	assert_int_equal(read_from(s, fd, preface, sizeof(preface)), 42);
	assert_memory_equal(preface, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	assert_int_equal(write(fd, "\0\0\0\4\0\0\0\0", 8), 8);
	settle(&s->stage);
	assert_int_equal(s->stage.ready, 0);
	assert_int_equal(write(fd, "\0rest", 5), 5);
	while (!s->stage.ready)
		(void)uv_run(&s->stage.loop, UV_RUN_ONCE);
	(void)close(fd);
	while (!s->stage.lost)
		(void)uv_run(&s->stage.loop, UV_RUN_ONCE);
	assert_int_equal(s->stage.ready, 1);
}

static void clients_go_through_and_each_end_is_passed_on(void **state)
{
	struct stock_stage *s = *state;
	int watch = accept_stock(s), fd = client(&s->stage), guest = accept_stock(s);
	char bytes[64];

	assert_int_equal(write(fd, "question", 8), 8);
	assert_int_equal(read_from(s, guest, bytes, sizeof(bytes)), 8);
	assert_memory_equal(bytes, "question", 8);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(read_from(s, guest, bytes, sizeof(bytes)), 0);
	/* the answer still comes, and its end is the end */
	assert_int_equal(write(guest, "answer", 6), 6);
	(void)close(guest);
	assert_int_equal(read_from(s, fd, bytes, sizeof(bytes)), 6);
	assert_int_equal(read_from(s, fd, bytes, sizeof(bytes)), 0);
	(void)close(fd);
	(void)close(watch);
}

/* Neither side's stalled reader makes the relay hold more than its bound. */
static void assert_bounded(struct stock_stage *s, int from, int to)
{
	static char big[65536];
	size_t written = 0;
	int idle = 0;

	while (idle < 100) {
		ssize_t n = write(from, big, sizeof(big));

		written += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		(void)uv_run(&s->stage.loop, UV_RUN_NOWAIT);
	}
	assert_true(written < 4 * 1024 * 1024); /* the sockets' buffers and PASSAGE_MAX */
	while (written)
		written -= (size_t)read_from(s, to, big, sizeof(big));
}

static void a_reader_that_stalls_stalls_the_writer(void **state)
{
	struct stock_stage *s = *state;
	int watch = accept_stock(s), fd = client(&s->stage), guest = accept_stock(s);

	assert_bounded(s, guest, fd);
	assert_bounded(s, fd, guest);
	(void)close(fd);
	(void)close(guest);
	(void)close(watch);
}

/* Clients of a guest that resets, and of one that goes on sending after its client went. */
static void who_goes_takes_the_other_along(void **state)
{
	struct stock_stage *s = *state;
	int watch = accept_stock(s), fd = client(&s->stage), guest = accept_stock(s);
	char bytes[64];

	assert_int_equal(write(fd, "unread", 6), 6);
	assert_int_equal(read_from(s, guest, bytes, 1), 1);
	assert_int_equal(write(guest, "last words", 10), 10);
	(void)close(guest); /* unread bytes make that a reset */
	assert_int_equal(read_from(s, fd, bytes, sizeof(bytes)), 10);
	assert_true(read_from(s, fd, bytes, sizeof(bytes)) <= 0);
	(void)close(fd);
	fd = client(&s->stage);
	guest = accept_stock(s);
	(void)close(fd);
	while (send(guest, "x", 1, MSG_NOSIGNAL) == 1)
		(void)uv_run(&s->stage.loop, UV_RUN_NOWAIT);
	(void)close(guest);
	(void)close(watch);
}

/* A guest that never reads, with clients that say their end, or just go, behind what it leaves. */
static void who_went_leaves_a_guest_that_never_reads(void **state)
{
	struct stock_stage *s = *state;
	int watch = accept_stock(s);

	for (unsigned i = 0; i < 2; i++) {
		int fd = client(&s->stage);
		struct pollfd guest = { .fd = accept_stock(s) };

		fill(&s->stage, fd);
		hurry = 100;
		if (i == 0)
			(void)shutdown(fd, SHUT_WR);
		else
			(void)close(take_fd(&fd));
		while (poll(&guest, 1, 0) == 0) /* until it is hung up */
			(void)uv_run(&s->stage.loop, UV_RUN_NOWAIT);
		hurry = 1;
		(void)close(guest.fd);
		(void)close(fd);
	}
	(void)close(watch);
}

/* What a client said before it went is the guest's, however slowly it reads. */
static void a_slow_guest_gets_all_of_who_went(void **state)
{
	struct stock_stage *s = *state;
	int watch = accept_stock(s), fd = client(&s->stage), guest = accept_stock(s);
	static char big[65536];
	size_t sent = 0, came = 0;
	ssize_t n;

	for (unsigned idle = 0; idle < 100;) {
		n = write(fd, big, sizeof(big));
		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		(void)uv_run(&s->stage.loop, UV_RUN_NOWAIT);
	}
	(void)close(fd);
	while ((n = read_from(s, guest, big, sizeof(big))) > 0)
		came += (size_t)n;
	assert_int_equal(came, sent);
	(void)close(guest);
	(void)close(watch);
}

/* Whoever was not connected yet goes by the frames; who was, stays; it is told once. */
static void ours_takes_over(void **state)
{
	struct stock_stage *s = *state;
	int watch = accept_stock(s), before = client(&s->stage), guest = accept_stock(s), after;
	char bytes[64];

	assert_int_equal(write(watch, "\0\0\0\4\0\0\0\0\0", 9), 9);
	while (!s->stage.ready)
		(void)uv_run(&s->stage.loop, UV_RUN_ONCE);
	connect_guest(&s->stage);
	assert_int_equal(s->stage.ready, 1);
	assert_int_equal(s->stage.lost, 0);
	after = client(&s->stage);
	assert_int_equal(write(after, "by frames", 9), 9);
	while (!s->stage.got.len)
		settle(&s->stage);
	assert_string_equal(s->stage.got.ptr, "by frames");
	assert_int_equal(write(before, "by vsock", 8), 8);
	assert_int_equal(read_from(s, guest, bytes, sizeof(bytes)), 8);
	assert_int_equal(accept(s->listener, NULL, NULL), -1); /* nobody dials any more */
	assert_true(read_from(s, watch, bytes, sizeof(bytes)) == 42);
	assert_true(read_from(s, watch, bytes, sizeof(bytes)) == 0);
	(void)close(before);
	(void)close(after);
	(void)close(guest);
	(void)close(watch);
}

/* Whatever is under way, the teardown finds no handle left. */
static void it_can_be_closed_at_any_time(void **state)
{
	struct stock_stage *s = *state;
	int fds[3];

	for (size_t i = 0; i < array_size(fds); i++)
		fds[i] = client(&s->stage);
	(void)uv_run(&s->stage.loop, UV_RUN_NOWAIT);
	relay_close(take(s->stage.relay));
	(void)uv_run(&s->stage.loop, UV_RUN_NOWAIT);
	for (size_t i = 0; i < array_size(fds); i++)
		(void)close(fds[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_STOCK(name) cmocka_unit_test_setup_teardown(name, setup_stock, teardown_stock)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bytes_go_both_ways),
		TEST(a_client_waits_for_the_agent),
		TEST(a_lost_agent_closes_its_clients),
		TEST(a_guest_that_breaks_the_rules_is_lost),
		TEST(a_closed_port_is_told_once),
		TEST(a_stalled_client_delays_no_other),
		TEST(who_went_leaves_its_stream_though_the_guest_never_reads),
		TEST(who_has_ended_gets_the_rest_of_the_answer),
		TEST(who_still_reads_when_the_agent_comes_back_does_not_join_it),
		TEST(a_listener_rests_when_no_descriptor_is_left),
		TEST_STOCK(it_is_ready_when_it_speaks_http2),
		TEST_STOCK(clients_go_through_and_each_end_is_passed_on),
		TEST_STOCK(a_reader_that_stalls_stalls_the_writer),
		TEST_STOCK(who_goes_takes_the_other_along),
		TEST_STOCK(who_went_leaves_a_guest_that_never_reads),
		TEST_STOCK(a_slow_guest_gets_all_of_who_went),
		TEST_STOCK(ours_takes_over),
		TEST_STOCK(it_can_be_closed_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
