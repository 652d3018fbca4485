/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"

/* One end of a link with what happened to it. */
struct end {
	struct frame_link *link;
	unsigned ups, downs, opened, ended, closed, clean, writable;
	struct frame_stream *stream; /* the last one opened */
	struct str data;
	bool consume;
};

static void up(void *arg)
{
	((struct end *)arg)->ups++;
}

static void down(void *arg)
{
	((struct end *)arg)->downs++;
}

static void *opened(void *arg, struct frame_stream *stream)
{
	struct end *end = arg;

	end->opened++;
	end->stream = stream;
	return end;
}

static void data(void *owner, const uint8_t *bytes, size_t len)
{
	struct end *end = owner;

	str_add(&end->data, bytes, len);
	if (end->consume)
		frame_consumed(end->stream, len);
}

static void ended(void *owner)
{
	((struct end *)owner)->ended++;
}

static void writable(void *owner)
{
	((struct end *)owner)->writable++;
}

static void closed(void *owner, bool clean)
{
	struct end *end = owner;

	end->closed++;
	end->clean += clean;
	end->stream = NULL;
}

static const struct frame_events events = { up, down, opened, data, ended, writable, closed };

struct pair {
	struct end host, guest;
};

static void end_init(struct end *end, enum frame_role role)
{
	*end = (struct end){ .data = STR_INIT, .consume = true };
	end->link = frame_link_new(role, &events, end);
}

static void end_release(struct end *end)
{
	frame_link_free(end->link);
	str_release(&end->data);
}

static int setup(void **state)
{
	struct pair *pair = xcalloc(1, sizeof(*pair));

	end_init(&pair->host, FRAME_HOST);
	end_init(&pair->guest, FRAME_GUEST);
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	end_release(&pair->host);
	end_release(&pair->guest);
	free(pair);
	return 0;
}

/* May a link find the rules broken? A header that was cut off and filled up by the flush does. */
static bool may_break;

/* Carry what waits from one link to the other, @piece bytes at a time. Return: was there any? */
static bool carry(struct frame_link *from, struct frame_link *to, size_t piece)
{
	struct slice out = frame_output(from);
	size_t n = out.len < piece ? out.len : piece;
	uint8_t *copy;
	int r;

	if (!n)
		return false;
	copy = xmalloc(n);
	memcpy(copy, out.ptr, n);
	frame_sent(from, n);
	r = frame_receive(to, copy, n);
	free(copy);
	if (r < 0) {
		assert_true(may_break);
		frame_start(to); /* as the owner of a link does */
	}
	return true;
}

static void settle(struct pair *pair, size_t piece)
{
	bool more = true;

	while (more) {
		more = carry(pair->host.link, pair->guest.link, piece);
		more |= carry(pair->guest.link, pair->host.link, piece);
	}
}

static void connect_ends(struct pair *pair)
{
	frame_start(pair->guest.link);
	frame_start(pair->host.link);
	settle(pair, SIZE_MAX);
	assert_true(frame_is_up(pair->host.link));
	assert_true(frame_is_up(pair->guest.link));
}

static void open_stream(struct pair *pair)
{
	pair->host.stream = frame_open(pair->host.link, &pair->host);
	assert_non_null(pair->host.stream);
	settle(pair, SIZE_MAX);
	assert_non_null(pair->guest.stream);
}

static void greets_and_carries(void **state)
{
	struct pair *pair = *state;

	connect_ends(pair);
	open_stream(pair);
	frame_send(pair->host.stream, "to guest", 8);
	frame_send(pair->guest.stream, "to host", 7);
	settle(pair, SIZE_MAX);
	assert_string_equal(pair->guest.data.ptr, "to guest");
	assert_string_equal(pair->host.data.ptr, "to host");
	frame_end(pair->host.stream);
	settle(pair, SIZE_MAX);
	assert_int_equal(pair->guest.ended, 1);
	frame_end(pair->guest.stream);
	settle(pair, SIZE_MAX);
	assert_int_equal(pair->guest.clean, 1);
	assert_int_equal(pair->host.clean, 1);
}

static void carries_byte_by_byte(void **state)
{
	struct pair *pair = *state;

	frame_start(pair->guest.link);
	frame_start(pair->host.link);
	settle(pair, 1);
	assert_true(frame_is_up(pair->host.link) && frame_is_up(pair->guest.link));
	pair->host.stream = frame_open(pair->host.link, &pair->host);
	frame_send(pair->host.stream, "bytes", 5);
	settle(pair, 1);
	assert_string_equal(pair->guest.data.ptr, "bytes");
}

static void the_host_comes_back_in_the_middle_of_a_frame(void **state)
{
	struct pair *pair = *state;
	static const char big[FRAME_PAYLOAD_MAX];

	may_break = true;
	for (size_t cut = 1; cut < 60; cut++) {
		connect_ends(pair);
		open_stream(pair);
		frame_send(pair->host.stream, big, sizeof(big));
		(void)carry(pair->host.link, pair->guest.link, cut);
		frame_stop(pair->host.link); /* the rest is lost with the old host */
		frame_start(pair->host.link);
		settle(pair, 999);
		assert_true(frame_is_up(pair->host.link));
		assert_true(frame_is_up(pair->guest.link));
		assert_null(pair->guest.stream);
	}
	may_break = false;
}

/* Everything of an old session that is still in the port comes first. */
static void stale_bytes_are_not_believed(void **state)
{
	struct pair *pair = *state;
	auto_str stale = STR_INIT;
	struct slice old;

	connect_ends(pair);
	open_stream(pair);
	pair->guest.consume = pair->host.consume = false;
	for (size_t i = 0; i < FRAME_WINDOW / 1024; i++) {
		char chunk[1024] = "stale";

		frame_send(pair->guest.stream, chunk, sizeof(chunk));
	}
	old = frame_output(pair->guest.link);
	str_add(&stale, old.ptr, old.len);
	frame_sent(pair->guest.link, old.len);
	frame_stop(pair->host.link);
	frame_start(pair->host.link);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(
			frame_receive(pair->host.link, (uint8_t *)stale.ptr + i, stale.len - i), 0);
	assert_false(frame_is_up(pair->host.link));
	settle(pair, SIZE_MAX);
	assert_true(frame_is_up(pair->host.link));
	assert_int_equal(pair->host.data.len, 0);
}

/* A recorded session, greetings included, played to either side again brings nothing up. */
static void a_replay_is_not_believed(void **state)
{
	struct pair *pair = *state;
	auto_str to_guest = STR_INIT;
	auto_str to_host = STR_INIT;
	struct end fresh;
	bool more = true;

	frame_start(pair->guest.link);
	frame_start(pair->host.link);
	while (more) {
		struct slice h = frame_output(pair->host.link), g;

		str_add(&to_guest, h.ptr, h.len);
		more = carry(pair->host.link, pair->guest.link, SIZE_MAX);
		g = frame_output(pair->guest.link);
		str_add(&to_host, g.ptr, g.len);
		more |= carry(pair->guest.link, pair->host.link, SIZE_MAX);
	}
	assert_true(frame_is_up(pair->guest.link));
	end_init(&fresh, FRAME_GUEST);
	frame_start(fresh.link);
	assert_int_equal(frame_receive(fresh.link, (uint8_t *)to_guest.ptr, to_guest.len), 0);
	assert_false(frame_is_up(fresh.link));
	end_release(&fresh);
	end_init(&fresh, FRAME_HOST);
	frame_start(fresh.link);
	assert_int_equal(frame_receive(fresh.link, (uint8_t *)to_host.ptr, to_host.len), 0);
	assert_false(frame_is_up(fresh.link));
	end_release(&fresh);
}

/* The head of a greeting that was cut off must not hide the one behind it. */
static void a_cut_greeting_hides_nothing(void **state)
{
	struct pair *pair = *state;
	static const uint8_t head[] = { 2,   0,	  0,   40,  0,	 0,   0,    0,
					'L', 'i', 'n', 'z', 'e', 'r', '\r', 1 };

	frame_start(pair->host.link);
	for (size_t n = 1; n <= sizeof(head); n++)
		assert_int_equal(frame_receive(pair->host.link, head, n), 0);
	frame_start(pair->guest.link);
	settle(pair, 3);
	assert_true(frame_is_up(pair->host.link));
}

static void a_new_guest_ends_the_session(void **state)
{
	struct pair *pair = *state;

	connect_ends(pair);
	open_stream(pair);
	frame_start(pair->guest.link); /* rebooted */
	settle(pair, SIZE_MAX);
	assert_int_equal(pair->host.downs, 1);
	assert_int_equal(pair->host.closed, 1);
	assert_int_equal(pair->host.ups, 2);
	open_stream(pair);
}

static void a_stream_that_is_not_read_stops(void **state)
{
	struct pair *pair = *state;
	static const char big[FRAME_WINDOW];
	struct frame_stream *other;

	connect_ends(pair);
	pair->guest.consume = false;
	open_stream(pair);
	assert_int_equal(frame_room(pair->host.stream), FRAME_WINDOW);
	frame_send(pair->host.stream, big, sizeof(big));
	settle(pair, SIZE_MAX);
	assert_int_equal(pair->guest.data.len, FRAME_WINDOW);
	assert_int_equal(frame_room(pair->host.stream), 0);
	other = frame_open(pair->host.link, &pair->host);
	assert_int_equal(frame_room(other), FRAME_WINDOW); /* another one does not */
	frame_consumed(pair->guest.stream, FRAME_WINDOW);
	settle(pair, SIZE_MAX);
	assert_int_equal(frame_room(pair->host.stream), FRAME_WINDOW);
}

static void streams_are_bounded(void **state)
{
	struct pair *pair = *state;

	connect_ends(pair);
	for (size_t i = 0; i < FRAME_STREAMS_MAX; i++)
		assert_non_null(frame_open(pair->host.link, &pair->host));
	assert_null(frame_open(pair->host.link, &pair->host));
	settle(pair, SIZE_MAX);
	assert_int_equal(pair->guest.opened, FRAME_STREAMS_MAX);
}

static void output_is_bounded(void **state)
{
	struct pair *pair = *state;
	static const char big[FRAME_WINDOW];

	connect_ends(pair);
	for (size_t i = 0; i < FRAME_STREAMS_MAX; i++) {
		struct frame_stream *s = frame_open(pair->host.link, &pair->host);

		if (frame_room(s))
			frame_send(s, big, frame_room(s));
	}
	assert_in_range(frame_output(pair->host.link).len, FRAME_BACKLOG_MAX,
			FRAME_BACKLOG_MAX + 2 * FRAME_WINDOW);
	settle(pair, SIZE_MAX);
	assert_true(pair->host.writable > 0);
}

struct bad {
	const char *why;
	uint8_t bytes[16];
	size_t len;
};

/* After stream 1 was opened, from the guest. */
static const struct bad bad[] = {
	{ "unknown type", { 10, 0, 0, 0, 0, 0, 0, 1 }, 8 },
	{ "reserved byte", { 6, 1, 0, 1, 0, 0, 0, 1, 'x' }, 9 },
	{ "too long", { 6, 0, 0x80, 1, 0, 0, 0, 1 }, 8 },
	{ "empty data", { 6, 0, 0, 0, 0, 0, 0, 1 }, 8 },
	{ "open by the guest", { 5, 0, 0, 0, 0, 0, 0, 9 }, 8 },
	{ "stream never opened", { 6, 0, 0, 1, 0, 0, 0, 2, 'x' }, 9 },
	{ "stream 0", { 8, 0, 0, 0, 0, 0, 0, 0 }, 8 },
	{ "credit of a wrong length", { 7, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0 }, 11 },
	{ "credit beyond the window", { 7, 0, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff }, 12 },
	{ "end twice", { 8, 0, 0, 0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 1 }, 16 },
	{ "a greeting that is none",
	  { 4, 0, 0, 8, 0, 0, 0, 0, 'L', 'i', 'n', 'z', 'e', 'r', '\r', 2 },
	  16 },
};

static void broken_rules_end_the_session(void **state)
{
	struct pair *pair = *state;

	for (size_t i = 0; i < array_size(bad); i++) {
		connect_ends(pair);
		open_stream(pair);
		if (frame_receive(pair->host.link, bad[i].bytes, bad[i].len) != -E_PROTOCOL)
			fail_msg("%s was accepted", bad[i].why);
		assert_false(frame_is_up(pair->host.link));
		assert_null(pair->host.stream);
	}
}

static void more_than_the_window_is_refused(void **state)
{
	struct pair *pair = *state;
	static uint8_t frame[FRAME_HEADER + FRAME_PAYLOAD_MAX] = { 6, 0, 0x80, 0, 0, 0, 0, 1 };

	connect_ends(pair);
	pair->host.consume = false;
	open_stream(pair);
	for (size_t i = 0; i < FRAME_WINDOW / FRAME_PAYLOAD_MAX; i++)
		assert_int_equal(frame_receive(pair->host.link, frame, sizeof(frame)), 0);
	assert_int_equal(frame_receive(pair->host.link, frame, sizeof(frame)), -E_PROTOCOL);
}

static void late_frames_of_a_reset_stream_are_ignored(void **state)
{
	struct pair *pair = *state;

	connect_ends(pair);
	open_stream(pair);
	frame_send(pair->guest.stream, "late", 4);
	frame_reset(take(pair->host.stream));
	settle(pair, SIZE_MAX);
	assert_true(frame_is_up(pair->host.link));
	assert_int_equal(pair->host.data.len, 0);
	assert_int_equal(pair->guest.closed, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(greets_and_carries),
		TEST(carries_byte_by_byte),
		TEST(the_host_comes_back_in_the_middle_of_a_frame),
		TEST(stale_bytes_are_not_believed),
		TEST(a_replay_is_not_believed),
		TEST(a_cut_greeting_hides_nothing),
		TEST(a_new_guest_ends_the_session),
		TEST(a_stream_that_is_not_read_stops),
		TEST(streams_are_bounded),
		TEST(output_is_bounded),
		TEST(broken_rules_end_the_session),
		TEST(more_than_the_window_is_refused),
		TEST(late_frames_of_a_reset_stream_are_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
