/* SPDX-License-Identifier: Apache-2.0 */
#include "net/relay_tcp.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/socket.h"
#include "net/frame.h"
#include "net/upstream.h"

enum { TRIES_MAX = 3, WAIT_MS = 10 * 1000, LENGTH = 2 };

_Static_assert(TCP_BUFFER >= LENGTH + DNS_QUERY_MAX, "a query fits");

void tcp_relay_init(struct tcp_relay *relay, int keeper, int listener, struct names *names)
{
	relay->keeper = keeper;
	relay->listener = listener;
	relay->names = names;
	relay->resting = 0;
	for (unsigned i = 0; i < TCP_CLIENTS_MAX; i++)
		relay->clients[i].state = TCP_FREE;
}

static void close_resolver(struct tcp_client *c)
{
	if (c->resolver >= 0)
		(void)close(c->resolver);
	c->resolver = -1;
}

static void end(struct tcp_client *c)
{
	close_resolver(c);
	(void)close(c->guest);
	c->state = TCP_FREE;
}

static void enter(struct tcp_client *c, enum tcp_state state)
{
	c->state = state;
	c->deadline = clock_ms() + WAIT_MS;
}

static void await_query(struct tcp_client *c)
{
	close_resolver(c);
	c->len = c->at = c->left = 0;
	c->tries = 0;
	enter(c, TCP_READ_QUERY);
}

struct pollfd tcp_relay_listener(const struct tcp_relay *relay)
{
	return (struct pollfd){ .fd = relay->resting ? -1 : relay->listener, .events = POLLIN };
}

void tcp_relay_accept(struct tcp_relay *relay)
{
	int fd = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (socket_must_rest(errno))
			relay->resting = clock_ms() + SOCKET_REST_MS;
		return;
	}
	for (unsigned i = 0; i < TCP_CLIENTS_MAX; i++) {
		struct tcp_client *c = &relay->clients[i];

		if (c->state != TCP_FREE)
			continue;
		c->guest = fd;
		c->resolver = -1;
		await_query(c);
		return;
	}
	(void)close(fd);
}

int tcp_relay_wants(const struct tcp_relay *relay, unsigned i, short *events)
{
	const struct tcp_client *c = &relay->clients[i];
	bool writes = c->state == TCP_SEND_QUERY || c->state == TCP_SEND_ANSWER;

	*events = writes ? POLLOUT : POLLIN;
	if (c->state == TCP_FREE)
		return -1;
	return c->state == TCP_READ_QUERY || c->state == TCP_SEND_ANSWER ? c->guest : c->resolver;
}

/* Return: false where the connection is of no more use. */
static bool receive(struct tcp_client *c, int fd, size_t room)
{
	ssize_t n = recv(fd, c->buffer + c->len, room, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->len += (size_t)n;
	return n > 0;
}

static bool send_rest(struct tcp_client *c, int fd)
{
	ssize_t n = send(fd, c->buffer + c->at, c->len - c->at, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->at += (size_t)n;
	return true;
}

static bool next_resolver(const struct tcp_relay *relay, struct tcp_client *c)
{
	close_resolver(c);
	c->at = 0;
	if (c->tries == TRIES_MAX)
		return false;
	c->resolver = upstream_get(relay->keeper, TALKER_WANTS_TCP, c->tries++);
	enter(c, TCP_SEND_QUERY);
	return c->resolver >= 0;
}

/* How many bytes the buffer is to hold: as many as its first two say, if they are there. */
static size_t announced(const struct tcp_client *c)
{
	return c->len < LENGTH ? LENGTH : LENGTH + (size_t)frame_get16(c->buffer);
}

/* To the guest, instead of an answer. */
static void send_error(struct tcp_client *c, enum dns_error error)
{
	close_resolver(c);
	dns_make_error(c->asked, error);
	frame_put16(c->buffer, (uint16_t)c->question);
	memcpy(c->buffer + LENGTH, c->asked, c->question);
	c->len = LENGTH + c->question;
	c->at = c->left = 0;
	enter(c, TCP_SEND_ANSWER);
}

/* Never more than this query: the next one stays in the socket. */
static bool read_query(const struct tcp_relay *relay, struct tcp_client *c)
{
	size_t want = announced(c);

	if (want > LENGTH + DNS_QUERY_MAX || !receive(c, c->guest, want - c->len))
		return false;
	if (c->len < LENGTH || c->len < announced(c))
		return true;
	c->question = dns_check_query((struct slice){ c->buffer + LENGTH, c->len - LENGTH });
	if (c->question == 0)
		return false;
	memcpy(c->asked, c->buffer + LENGTH, c->question);
	if (names_judge_query(relay->names, (struct slice){ c->asked, c->question }) == NAMES_PASS)
		return next_resolver(relay, c);
	send_error(c, DNS_REFUSED);
	return true;
}

static bool send_query(const struct tcp_relay *relay, struct tcp_client *c)
{
	if (!send_rest(c, c->resolver))
		return next_resolver(relay, c);
	if (c->at == c->len) {
		c->len = c->at = 0;
		enter(c, TCP_READ_ANSWER);
	}
	return true;
}

/* As much of the answer as the buffer holds is there. Return: false where it is none. */
static bool judge_answer(const struct tcp_relay *relay, struct tcp_client *c)
{
	const struct slice asked = { c->asked, c->question };
	const struct slice answer = { c->buffer + LENGTH, c->len - LENGTH };

	if (!dns_is_answer(answer, dns_id(c->asked), asked))
		return false;
	switch (names_judge_answer(relay->names, asked, answer)) {
	case NAMES_PASS:
		enter(c, TCP_SEND_ANSWER);
		break;
	case NAMES_REFUSE:
		send_error(c, DNS_REFUSED);
		break;
	case NAMES_FAIL:
		send_error(c, DNS_FAILURE);
		break;
	}
	return true;
}

static size_t first_piece(const struct tcp_client *c)
{
	size_t all = announced(c);

	return all < TCP_BUFFER ? all : TCP_BUFFER;
}

static bool read_answer(const struct tcp_relay *relay, struct tcp_client *c)
{
	if (!receive(c, c->resolver, first_piece(c) - c->len))
		return false;
	if (c->len < LENGTH || c->len < first_piece(c))
		return true;
	c->left = announced(c) - c->len;
	return judge_answer(relay, c);
}

/* A piece goes on as soon as it is here. */
static bool read_rest(struct tcp_client *c)
{
	if (!receive(c, c->resolver, c->left < TCP_BUFFER ? c->left : TCP_BUFFER))
		return false;
	c->left -= c->len;
	if (c->len > 0)
		enter(c, TCP_SEND_ANSWER);
	return true;
}

static bool send_answer(struct tcp_client *c)
{
	if (!send_rest(c, c->guest))
		return false;
	if (c->at < c->len)
		return true;
	c->len = c->at = 0;
	if (c->left)
		enter(c, TCP_READ_REST);
	else
		await_query(c);
	return true;
}

void tcp_relay_go(struct tcp_relay *relay, unsigned i)
{
	struct tcp_client *c = &relay->clients[i];
	bool well = false;

	switch (c->state) {
	case TCP_FREE:
		return;
	case TCP_READ_QUERY:
		well = read_query(relay, c);
		break;
	case TCP_SEND_QUERY:
		well = send_query(relay, c);
		break;
	case TCP_READ_ANSWER:
		well = read_answer(relay, c);
		break;
	case TCP_READ_REST:
		well = read_rest(c);
		break;
	case TCP_SEND_ANSWER:
		well = send_answer(c);
		break;
	}
	if (!well)
		end(c);
}

bool tcp_relay_tick(struct tcp_relay *relay)
{
	uint64_t now = clock_ms();
	bool waiting;

	if (relay->resting <= now)
		relay->resting = 0;
	waiting = relay->resting != 0;
	for (unsigned i = 0; i < TCP_CLIENTS_MAX; i++) {
		struct tcp_client *c = &relay->clients[i];

		if (c->state != TCP_FREE && c->deadline <= now)
			end(c);
		waiting |= c->state != TCP_FREE;
	}
	return waiting;
}
