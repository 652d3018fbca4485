/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/passage.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum { READ_SIZE = 65536 };

struct end {
	struct passage *passage;
	struct end *other;
	int fd;
	uv_poll_t poll;
	struct str out; /* for this end, from the other */
	bool read_all; /* it sends no more, or nobody wants what it sends */
	bool deaf; /* it takes no more */
};

struct passage {
	void (*on_end)(void *owner);
	void *owner;
	struct end client, guest;
	uv_timer_t linger;
	bool leaving; /* the client's end has come, maybe behind bytes that are still to be read */
	bool passed_on; /* and the guest has been told */
	unsigned handles; /* that are not closed yet */
	bool closing;
};

static void handle_closed(uv_handle_t *handle)
{
	struct passage *passage = handle->data;

	if (--passage->handles)
		return;
	cleanup_close_(&passage->client.fd);
	cleanup_close_(&passage->guest.fd);
	str_release(&passage->client.out);
	str_release(&passage->guest.out);
	free(passage);
}

static void close_end(struct end *end)
{
	/* now, and not when the loop comes to it: the other side shall hear of it */
	(void)shutdown(end->fd, SHUT_RDWR);
	end->poll.data = end->passage;
	uv_close((uv_handle_t *)&end->poll, handle_closed);
}

void passage_close(struct passage *passage)
{
	if (!passage || passage->closing)
		return;
	passage->closing = true;
	close_end(&passage->client);
	close_end(&passage->guest);
	uv_close((uv_handle_t *)&passage->linger, handle_closed);
}

static void finish(struct passage *passage)
{
	passage_close(passage);
	passage->on_end(passage->owner);
}

static void linger_over(uv_timer_t *timer)
{
	finish(timer->data);
}

static void limit(struct passage *passage)
{
	(void)uv_timer_start(&passage->linger, linger_over, PASSAGE_LINGER_MS, 0);
}

static void leave(struct passage *passage)
{
	if (!passage->leaving)
		limit(passage);
	passage->leaving = true;
}

/* From @end comes no more: when the other one has it all, that is passed on. */
static void pass_end(struct end *end)
{
	struct passage *passage = end->passage;

	if (end != &passage->client || !end->read_all || end->other->out.len || end->other->deaf ||
	    passage->passed_on)
		return;
	passage->passed_on = true;
	(void)shutdown(end->other->fd, SHUT_WR);
	limit(passage);
}

/* Nobody takes what would be for @end: its other end is read no more. */
static void turn_deaf(struct end *end)
{
	struct passage *passage = end->passage;

	end->deaf = true;
	str_reset(&end->out);
	end->other->read_all = true;
	/* what it said before it went is still the client's, if it comes to an end */
	if (end == &passage->guest)
		limit(passage);
}

static void write_some(struct end *end)
{
	ssize_t n;

	if (!end->out.len)
		return;
	n = send(end->fd, end->out.ptr, end->out.len, MSG_NOSIGNAL);
	if (n > 0 && end == &end->passage->guest && end->passage->leaving)
		limit(end->passage);
	if (n > 0)
		str_consume(&end->out, (size_t)n);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		turn_deaf(end);
	pass_end(end->other);
}

static size_t room(const struct end *end)
{
	return end->out.len < PASSAGE_MAX ? PASSAGE_MAX - end->out.len : 0;
}

static void read_some(struct end *end)
{
	uint8_t buffer[READ_SIZE];
	size_t max = room(end->other);
	ssize_t n;

	if (end->read_all || !max)
		return;
	n = read(end->fd, buffer, max < sizeof(buffer) ? max : sizeof(buffer));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		str_add(&end->other->out, buffer, (size_t)n);
	else
		end->read_all = true;
	if (n <= 0 && end == &end->passage->client)
		leave(end->passage);
	write_some(end->other);
	pass_end(end);
}

static bool is_over(const struct passage *passage)
{
	return passage->client.deaf || (passage->guest.read_all && !passage->client.out.len);
}

static void end_ready(uv_poll_t *poll, int status, int events);

static void watch(struct end *end)
{
	int events = end->out.len ? UV_WRITABLE : 0;

	if (!end->read_all && room(end->other))
		events |= UV_READABLE;
	else if (end == &end->passage->client && !end->passage->leaving)
		events |= UV_DISCONNECT; /* reading cannot tell */
	if (events)
		(void)uv_poll_start(&end->poll, events, end_ready);
	else
		(void)uv_poll_stop(&end->poll);
}

/* After a reset: what came before it can still be read. */
static void clear_error(int fd)
{
	int error;
	socklen_t len = sizeof(error);

	(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
}

static void end_ready(uv_poll_t *poll, int status, int events)
{
	struct end *end = poll->data;
	struct passage *passage = end->passage;

	if (status < 0) {
		clear_error(end->fd);
		events = UV_READABLE | UV_WRITABLE;
	}
	if (events & UV_WRITABLE)
		write_some(end);
	if (events & UV_READABLE)
		read_some(end);
	if (events & UV_DISCONNECT)
		leave(passage);
	if (is_over(passage)) {
		finish(passage);
		return;
	}
	watch(&passage->client);
	watch(&passage->guest);
}

static void end_init(struct end *end, struct passage *passage, uv_loop_t *loop, int fd)
{
	end->passage = passage;
	end->other = end == &passage->client ? &passage->guest : &passage->client;
	end->fd = fd;
	end->out = (struct str)STR_INIT;
	/* fails only for a descriptor that cannot be polled, which a socket is not */
	(void)uv_poll_init(loop, &end->poll, fd);
	end->poll.data = end;
}

struct passage *passage_start(uv_loop_t *loop, int client, int guest, void (*on_end)(void *owner),
			      void *owner)
{
	struct passage *passage = xcalloc(1, sizeof(*passage));

	passage->on_end = on_end;
	passage->owner = owner;
	passage->handles = 3;
	end_init(&passage->client, passage, loop, client);
	end_init(&passage->guest, passage, loop, guest);
	(void)uv_timer_init(loop, &passage->linger);
	passage->linger.data = passage;
	watch(&passage->client);
	watch(&passage->guest);
	return passage;
}
