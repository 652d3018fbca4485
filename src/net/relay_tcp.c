/* SPDX-License-Identifier: Apache-2.0 */
#include "net/relay_tcp.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/frame.h"
#include "net/upstream.h"

enum { TRIES_MAX = 3, WAIT_MS = 10 * 1000, LENGTH = 2 };

_Static_assert(TCP_BUFFER >= LENGTH + DNS_QUERY_MAX, "a query fits");

void tcp_relay_init(struct tcp_relay *relay, int keeper, int listener)
{
	relay->keeper = keeper;
	relay->listener = listener;
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
	c->sized = false;
	enter(c, TCP_READ_QUERY);
}

void tcp_relay_accept(struct tcp_relay *relay)
{
	int fd = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
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
	bool reads = c->state == TCP_READ_QUERY || c->state == TCP_READ_ANSWER;

	*events = reads ? POLLIN : POLLOUT;
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

/* Never more than this query: the next one stays in the socket. */
static bool read_query(const struct tcp_relay *relay, struct tcp_client *c)
{
	size_t want = c->len < LENGTH ? LENGTH : LENGTH + (size_t)frame_get16(c->buffer);

	if (want > LENGTH + DNS_QUERY_MAX || !receive(c, c->guest, want - c->len))
		return false;
	if (c->len < LENGTH || c->len < LENGTH + (size_t)frame_get16(c->buffer))
		return true;
	if (dns_check_query((struct slice){ c->buffer + LENGTH, c->len - LENGTH }) == 0)
		return false;
	return next_resolver(relay, c);
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

/* First the length alone, then as much as fits: a piece goes on as soon as it is here. */
static bool read_answer(struct tcp_client *c)
{
	size_t room = LENGTH - c->len;

	if (c->sized)
		room = c->left < TCP_BUFFER ? c->left : TCP_BUFFER;
	if (!receive(c, c->resolver, room))
		return false;
	if (!c->sized && c->len < LENGTH)
		return true;
	if (c->sized)
		c->left -= c->len;
	else
		c->left = frame_get16(c->buffer);
	c->sized = true;
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
		enter(c, TCP_READ_ANSWER);
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
		well = read_answer(c);
		break;
	case TCP_SEND_ANSWER:
		well = send_answer(c);
		break;
	}
	if (!well)
		end(c);
}

void tcp_relay_tick(struct tcp_relay *relay)
{
	uint64_t now = clock_ms();

	for (unsigned i = 0; i < TCP_CLIENTS_MAX; i++)
		if (relay->clients[i].state != TCP_FREE && relay->clients[i].deadline <= now)
			end(&relay->clients[i]);
}
