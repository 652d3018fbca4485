/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "machine/qmp.h"

static const char greeting[] =
	"{\"QMP\":{\"version\":{\"qemu\":{\"major\":5,\"minor\":2}},\"capabilities\":[]}}\r\n";

enum { SHORT_MS = 100, LONG_MS = 20000 };

/* A scripted peer: writes everything at once; what the client sends stays unread. */
struct fixture {
	struct qmp *qmp;
	int peer;
	unsigned events;
	char last_event[64];
};

static void on_event(void *arg, const char *event, const json_t *data)
{
	struct fixture *f = arg;

	(void)data;
	f->events++;
	(void)snprintf(f->last_event, sizeof(f->last_event), "%s", event);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->qmp = qmp_new(fds[0], on_event, f);
	f->peer = fds[1];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	qmp_free(f->qmp);
	cleanup_close_(&f->peer);
	free(f);
	return 0;
}

static void say(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->peer, text, strlen(text)), strlen(text));
}

static void greet(struct fixture *f)
{
	struct error err = ERROR_INIT;

	say(f, greeting);
	assert_int_equal(qmp_process(f->qmp, &err), 0);
	say(f, "{\"return\":{},\"id\":0}\r\n");
	assert_int_equal(qmp_handshake(f->qmp, LONG_MS, &err), 0);
}

static int call(struct fixture *f, unsigned timeout_ms, json_t **result, struct error *err)
{
	return qmp_call(f->qmp, "test", NULL, -1, timeout_ms, result, err);
}

static void assert_dead(struct fixture *f)
{
	struct error err = ERROR_INIT;

	assert_true(call(f, LONG_MS, NULL, &err) < 0);
	assert_true(qmp_process(f->qmp, &err) < 0);
	assert_true(qmp_handshake(f->qmp, LONG_MS, &err) < 0);
}

/* The peer says @text while a call waits: the call fails with @code, and the connection is dead. */
static void assert_rejected(void **state, const char *text, int code)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	say(f, text);
	assert_int_equal(call(f, LONG_MS, NULL, &err), -code);
	assert_dead(f);
}

static void an_answer_comes_back_with_events_between(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	json_t *result = NULL;

	greet(f);
	say(f, "{\"event\":\"STOP\",\"timestamp\":{}}\n"
	       "{\"event\":\"SHUTDOWN\",\"data\":{\"guest\":true}}\n"
	       "{\"return\":{\"a\":9007199254740993},\"id\":1}\n{\"event\":\"RESUME\"}\n");
	assert_int_equal(call(f, LONG_MS, &result, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(result, "a")), 9007199254740993);
	assert_int_equal(f->events, 3);
	assert_string_equal(f->last_event, "RESUME");
	json_decref(result);
}

static void an_error_of_qemu_leaves_the_connection_alive(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	say(f,
	    "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no \\u001b[2J room\"},\"id\":1}\n");
	assert_int_equal(call(f, LONG_MS, NULL, &err), -E_FAILED);
	assert_string_equal(err.text, "'test' failed: no ?[2J room");
	say(f, "{\"return\":{},\"id\":2}\n");
	assert_int_equal(call(f, LONG_MS, NULL, &err), 0);
}

static void a_line_may_come_byte_by_byte(void **state)
{
	static const char event[] = "{\"event\":\"STOP\"}\n";
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	for (size_t i = 0; event[i]; i++) {
		assert_int_equal(f->events, 0);
		assert_int_equal(write(f->peer, &event[i], 1), 1);
		assert_int_equal(qmp_process(f->qmp, &err), 0);
	}
	assert_int_equal(f->events, 1);
	assert_int_equal(qmp_process(f->qmp, &err), 0); /* nothing there */
}

static void an_answer_with_another_number_is_refused(void **state)
{
	assert_rejected(state, "{\"return\":{},\"id\":7}\n", E_PROTOCOL);
}

static void an_answer_without_a_number_is_refused(void **state)
{
	assert_rejected(state, "{\"return\":{}}\n", E_PROTOCOL);
}

static void a_second_answer_is_refused(void **state)
{
	assert_rejected(state, "{\"return\":{},\"id\":1}\n{\"return\":{},\"id\":1}\n", E_PROTOCOL);
}

static void an_answer_nobody_asked_for_is_refused(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	say(f, "{\"return\":{},\"id\":0}\n");
	assert_int_equal(qmp_process(f->qmp, &err), -E_PROTOCOL);
	assert_dead(f);
}

/* ... also the number by which we say that nobody asked. */
static void no_number_is_nobodys(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	say(f, "{\"return\":{},\"id\":-1}\n");
	assert_int_equal(qmp_process(f->qmp, &err), -E_PROTOCOL);
	assert_dead(f);
}

static void a_second_greeting_is_refused(void **state)
{
	assert_rejected(state, greeting, E_PROTOCOL);
}

static void rubbish_is_refused(void **state)
{
	assert_rejected(state, "\x01\xff rubbish\n", E_PROTOCOL);
}

static void an_array_is_refused(void **state)
{
	assert_rejected(state, "[1]\n", E_PROTOCOL);
}

static void a_malformed_event_is_refused(void **state)
{
	assert_rejected(state, "{\"event\":7}\n", E_PROTOCOL);
}

static void an_error_without_text_is_refused(void **state)
{
	assert_rejected(state, "{\"error\":{\"desc\":null},\"id\":1}\n", E_PROTOCOL);
}

static void end_of_file_in_a_message_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	say(f, "{\"return\":{},");
	assert_int_equal(shutdown(f->peer, SHUT_RDWR), 0);
	assert_true(call(f, LONG_MS, NULL, &err) < 0);
	assert_dead(f);
}

/* QEMU ends so, without having done anything wrong: not E_PROTOCOL. */
static void end_of_file_is_no_breach(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	assert_int_equal(shutdown(f->peer, SHUT_RDWR), 0);
	assert_int_equal(qmp_process(f->qmp, &err), -EPIPE);
	assert_dead(f);
}

static void what_is_posted_is_answered_later(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	char text[512];
	ssize_t n;

	greet(f);
	assert_true(read(f->peer, text, sizeof(text)) > 0); /* qmp_capabilities */
	assert_int_equal(qmp_post(f->qmp, "quit", &err), 0);
	n = read(f->peer, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n > 0 ? n : 0] = '\0';
	assert_string_equal(text, "{\"execute\":\"quit\",\"id\":-2}\n");
	say(f, "{\"error\":{\"desc\":\"no\"},\"id\":-2}\n{\"return\":{},\"id\":1}\n");
	assert_int_equal(call(f, LONG_MS, NULL, &err), 0);
	say(f, "{\"return\":{},\"id\":-2}\n");
	assert_int_equal(qmp_process(f->qmp, &err), -E_PROTOCOL);
}

/* How often, and how it ended last. */
struct heard {
	unsigned times;
	int result;
	struct error err;
};

static void hear(void *arg, int result, const struct error *err)
{
	struct heard *heard = arg;

	heard->times++;
	heard->result = result;
	heard->err = *err;
}

static int ask(struct fixture *f, struct heard *heard, struct error *err)
{
	return qmp_ask(f->qmp, "screendump", json_pack("{s:i}", "a", 1), -1, hear, heard, err);
}

static void who_asks_hears_the_answer(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	struct heard one = { 0 }, two = { 0 }, three = { 0 };

	greet(f);
	assert_int_equal(ask(f, &one, &err), 0);
	assert_int_equal(ask(f, &two, &err), 0);
	assert_int_equal(ask(f, &three, &err), 0);
	qmp_forget(f->qmp, &three);
	/* a call of something else, before and between */
	say(f, "{\"return\":{},\"id\":2}\n{\"return\":{},\"id\":4}\n");
	assert_int_equal(call(f, LONG_MS, NULL, &err), 0);
	assert_int_equal(one.times, 0);
	assert_int_equal(two.times, 1);
	assert_int_equal(two.result, 0);
	say(f, "{\"error\":{\"desc\":\"no\"},\"id\":1}\n{\"return\":{},\"id\":3}\n");
	assert_int_equal(qmp_process(f->qmp, &err), 0);
	assert_int_equal(one.result, -E_FAILED);
	assert_string_equal(one.err.text, "'screendump' failed: no");
	assert_int_equal(three.times, 0);
	say(f, "{\"return\":{},\"id\":1}\n");
	assert_int_equal(qmp_process(f->qmp, &err), -E_PROTOCOL);
	assert_int_equal(one.times, 1);
}

static void what_is_asked_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	struct heard heard = { 0 };

	greet(f);
	for (unsigned i = 0; i < QMP_ASKED_MAX; i++)
		assert_int_equal(ask(f, &heard, &err), 0);
	assert_int_equal(ask(f, &heard, &err), -EBUSY);
	say(f, "{\"return\":{},\"id\":5}\n");
	assert_int_equal(qmp_process(f->qmp, &err), 0);
	assert_int_equal(ask(f, &heard, &err), 0);
}

/* Nothing is posted where it would have to wait. */
static void a_post_never_waits(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	int r = 0;

	greet(f);
	for (unsigned i = 0; r == 0 && i < 1000000; i++)
		r = qmp_post(f->qmp, "quit", &err);
	assert_int_equal(r, -EAGAIN);
	assert_dead(f);
}

static void a_peer_that_never_answers_times_out(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	say(f, "{\"event\":\"STOP\"}\n");
	assert_int_equal(call(f, SHORT_MS, NULL, &err), -ETIMEDOUT);
	assert_int_equal(f->events, 1);
}

/* The call has failed, but what follows goes on; one answer of its own, and no more. */
static void a_late_answer_is_ignored(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	json_t *result = NULL;

	greet(f);
	assert_int_equal(call(f, SHORT_MS, NULL, &err), -ETIMEDOUT);
	assert_int_equal(qmp_post(f->qmp, "cont", &err), 0);
	say(f, "{\"return\":{\"late\":1},\"id\":1}\n{\"return\":{},\"id\":-2}\n"
	       "{\"return\":7,\"id\":2}\n");
	assert_int_equal(call(f, LONG_MS, &result, &err), 0);
	assert_int_equal(json_integer_value(result), 7);
	json_decref(result);
	say(f, "{\"return\":{},\"id\":1}\n");
	assert_int_equal(qmp_process(f->qmp, &err), -E_PROTOCOL);
	assert_dead(f);
}

static void an_answer_to_a_call_yet_to_come_is_refused(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	assert_int_equal(call(f, SHORT_MS, NULL, &err), -ETIMEDOUT);
	say(f, "{\"return\":{},\"id\":2}\n");
	assert_int_equal(qmp_process(f->qmp, &err), -E_PROTOCOL);
	assert_dead(f);
}

static void a_peer_that_never_greets_times_out(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	assert_int_equal(qmp_handshake(f->qmp, SHORT_MS, &err), -ETIMEDOUT);
	assert_dead(f);
}

/* What peer threads write for ever until the client hangs up. */
static void *flood(void *arg, const char *text)
{
	const struct fixture *f = arg;

	while (send(f->peer, text, strlen(text), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

static void *flood_one_line(void *arg)
{
	return flood(arg, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
}

static void *flood_events(void *arg)
{
	return flood(arg, "{\"event\":\"STOP\"}\n");
}

static void against_flood(struct fixture *f, void *(*peer)(void *), unsigned timeout_ms, int code)
{
	struct pollfd begun = { .fd = qmp_fd(f->qmp), .events = POLLIN };
	struct error err = ERROR_INIT;
	pthread_t thread;

	greet(f);
	assert_int_equal(pthread_create(&thread, NULL, peer, f), 0);
	assert_int_equal(poll(&begun, 1, LONG_MS), 1); /* a thread may start late */
	assert_int_equal(call(f, timeout_ms, NULL, &err), -code);
	assert_int_equal(shutdown(qmp_fd(f->qmp), SHUT_RDWR), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void an_endless_line_is_refused(void **state)
{
	against_flood(*state, flood_one_line, 10 * LONG_MS, E_PROTOCOL);
	assert_dead(*state);
}

static void endless_events_do_not_outlast_the_deadline(void **state)
{
	struct fixture *f = *state;

	against_flood(f, flood_events, 10 * SHORT_MS, ETIMEDOUT);
	assert_true(f->events > 0);
}

static void a_peer_that_stops_reading_times_out(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	auto_free char *big = xcalloc(4 * 1024 * 1024 + 1, 1);

	greet(f);
	memset(big, 'a', 4 * 1024 * 1024);
	assert_int_equal(qmp_call(f->qmp, "test", json_pack("{s:s}", "a", big), -1, SHORT_MS, NULL,
				  &err),
			 -ETIMEDOUT);
	assert_dead(f);
}

static int receive_fd(int peer, char *text, size_t size)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { text, size - 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	ssize_t n = recvmsg(peer, &message, 0);
	const struct cmsghdr *rights = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	int fd = -1;

	assert_non_null(rights);
	if (rights) {
		text[n] = '\0';
		memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
	}
	return fd;
}

static void a_descriptor_goes_with_its_command(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;
	struct stat sent, got;
	char text[512];
	auto_fd null = open("/dev/null", O_RDWR | O_CLOEXEC);
	auto_fd received = -1;

	greet(f);
	assert_true(read(f->peer, text, sizeof(text)) > 0); /* qmp_capabilities */
	say(f, "{\"return\":{},\"id\":1}\n");
	assert_int_equal(qmp_call(f->qmp, "add-fd", json_pack("{s:i}", "fdset-id", 7), null,
				  LONG_MS, NULL, &err),
			 0);
	received = receive_fd(f->peer, text, sizeof(text));
	assert_string_equal(text,
			    "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":7},\"id\":1}\n");
	assert_int_equal(fstat(null, &sent), 0);
	assert_int_equal(fstat(received, &got), 0);
	assert_int_equal(sent.st_rdev, got.st_rdev);
}

static void commands_are_asked_once_and_an_old_engine_is_named(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	greet(f);
	say(f, "{\"return\":[{\"name\":\"add-fd\"},{\"name\":\"remove-fd\"},{\"name\":\"blockdev-"
	       "add\"}"
	       ",{},7,{\"name\":7}],\"id\":1}\n");
	assert_int_equal(qmp_has_command(f->qmp, "add-fd", &err), 1);
	assert_int_equal(qmp_has_command(f->qmp, "blockdev-snapshot", &err), 0);
	assert_int_equal(qmp_check_engine(f->qmp, &err), -E_MISSING_TOOL);
	assert_string_equal(err.text, "QEMU 5.2 is too old: it has no 'blockdev-snapshot'; 7.2 or "
				      "newer is needed");
}

#define with_peer(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_peer(an_answer_comes_back_with_events_between),
		with_peer(an_error_of_qemu_leaves_the_connection_alive),
		with_peer(a_line_may_come_byte_by_byte),
		with_peer(an_answer_with_another_number_is_refused),
		with_peer(an_answer_without_a_number_is_refused),
		with_peer(a_second_answer_is_refused),
		with_peer(an_answer_nobody_asked_for_is_refused),
		with_peer(no_number_is_nobodys),
		with_peer(a_second_greeting_is_refused),
		with_peer(rubbish_is_refused),
		with_peer(an_array_is_refused),
		with_peer(a_malformed_event_is_refused),
		with_peer(an_error_without_text_is_refused),
		with_peer(end_of_file_in_a_message_is_an_error),
		with_peer(end_of_file_is_no_breach),
		with_peer(what_is_posted_is_answered_later),
		with_peer(who_asks_hears_the_answer),
		with_peer(what_is_asked_is_bounded),
		with_peer(a_post_never_waits),
		with_peer(a_peer_that_never_answers_times_out),
		with_peer(a_peer_that_never_greets_times_out),
		with_peer(an_endless_line_is_refused),
		with_peer(a_late_answer_is_ignored),
		with_peer(an_answer_to_a_call_yet_to_come_is_refused),
		with_peer(endless_events_do_not_outlast_the_deadline),
		with_peer(a_peer_that_stops_reading_times_out),
		with_peer(a_descriptor_goes_with_its_command),
		with_peer(commands_are_asked_once_and_an_old_engine_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
