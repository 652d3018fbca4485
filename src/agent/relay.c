/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * One poll handle for the port, one for the listener, one per client. A
 * client is held (its bytes unread) until the session is up, then it gets a
 * frame stream. It is read only while frame_room() says that its bytes can
 * go, and what the guest sends it waits in `out`, which the stream's window bounds, until its
 * socket takes it: so the bounds of agent/frame.h are the relay's.
 *
 * Where there is a stock agent to be dialled, a held client is given a connection to it as soon as
 * there is one, unless the session is up first: then it is a pair of sockets (agent/passage.h) and
 * the frames have nothing to do with it.
 *
 * While output to the guest piles up nobody new is accepted: a guest that
 * does not read must not make OPEN and RESET frames pile up for ever.
 *
 * Frees are deferred to libuv's close callbacks; the relay itself goes when the
 * last of its handles has.
 */

#include "agent/relay.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "agent/dial.h"
#include "agent/frame.h"
#include "agent/passage.h"
#include "agent/stock.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/socket.h"

enum {
	REGREET_MS = 1000, /* after the guest broke the protocol */
	READ_SIZE = 65536,
};

struct client {
	struct relay *relay;
	struct client *next, **link;
	int fd;
	uv_poll_t poll;
	uv_timer_t hold;
	unsigned handles; /* that are not closed yet */
	bool closing;
	struct frame_stream *stream; /* NULL: held, dialled, or gone */
	struct dial *dial; /* to the stock agent, while held */
	struct passage *passage; /* and connected to it: fd and poll are no longer ours */
	struct str out; /* for the client */
	bool read_all; /* it sends no more */
	bool leaving; /* nor will it, behind what is still to be read of it */
	bool peer_ended; /* the guest sends no more */
};

struct relay {
	uv_loop_t *loop;
	void (*on_event)(void *arg, enum relay_event event);
	void *arg;
	int port_fd, listen_fd;
	uv_poll_t port, listener;
	uv_timer_t regreet;
	uv_timer_t rest; /* of the listener: the system has no more to give */
	unsigned own_handles; /* of port, regreet, rest, listener, in this order */
	unsigned handles; /* own and clients' */
	bool closing, hung_up;
	struct frame_link *link;
	struct dial_address stock_address;
	struct stock *stock; /* watched while the session is not up */
	bool stock_answers;
	struct client *clients;
	size_t client_count;
	uint8_t buffer[READ_SIZE];
};

static void update_port(struct relay *relay);
static void update_client(struct client *client);

static void handle_closed(struct relay *relay)
{
	if (--relay->handles || !relay->closing)
		return;
	frame_link_free(relay->link);
	free(relay);
}

static void own_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

/* ---- clients ---- */

static void client_handle_closed(uv_handle_t *handle)
{
	struct client *client = handle->data;
	struct relay *relay = client->relay;

	if (--client->handles == 0) {
		cleanup_close_(&client->fd);
		str_release(&client->out);
		free(client);
	}
	handle_closed(relay);
}

static void client_close(struct client *client)
{
	if (client->closing)
		return;
	client->closing = true;
	if (client->stream)
		frame_reset(take(client->stream));
	dial_stop(take(client->dial));
	passage_close(take(client->passage));
	*client->link = client->next;
	if (client->next)
		client->next->link = client->link;
	client->relay->client_count--;
	if (!uv_is_closing((uv_handle_t *)&client->poll))
		uv_close((uv_handle_t *)&client->poll, client_handle_closed);
	uv_close((uv_handle_t *)&client->hold, client_handle_closed);
}

static void hold_over(uv_timer_t *timer)
{
	struct client *client = timer->data;
	struct relay *relay = client->relay;

	client_close(client);
	update_port(relay);
}

/* Write what waits. Return: is the client still there? */
static bool client_write(struct client *client)
{
	ssize_t n = 0;

	if (client->out.len)
		n = send(client->fd, client->out.ptr, client->out.len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (n <= 0)
		return true;
	str_consume(&client->out, (size_t)n);
	if (client->stream)
		frame_consumed(client->stream, (size_t)n);
	return true;
}

/* It is leaving: the guest takes something of it in time, or it is gone. */
static void limit(struct client *client)
{
	client->leaving = true;
	(void)uv_timer_start(&client->hold, hold_over, RELAY_HOLD_MS, 0);
}

/* Read as much as can go. Return: is the client still there? */
static bool client_read(struct client *client)
{
	struct relay *relay = client->relay;
	size_t room = frame_room(client->stream);
	ssize_t n;

	if (!room)
		return true;
	n = read(client->fd, relay->buffer, room < READ_SIZE ? room : READ_SIZE);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n > 0) {
		frame_send(client->stream, relay->buffer, (size_t)n);
		if (client->leaving)
			limit(client);
		return true;
	}
	client->read_all = true;
	limit(client);
	frame_end(client->stream);
	return true;
}

static void client_ready(uv_poll_t *poll, int status, int events)
{
	struct client *client = poll->data;
	struct relay *relay = client->relay;
	bool alive = status == 0;

	if (alive && (events & UV_WRITABLE))
		alive = client_write(client);
	if (alive && (events & UV_READABLE) && client->stream)
		alive = client_read(client);
	/* a held client that hangs up: nothing of it has been read */
	if (alive && (events & UV_DISCONNECT) && !client->stream)
		alive = false;
	else if (alive && (events & UV_DISCONNECT))
		limit(client);
	if (alive)
		update_client(client);
	else
		client_close(client);
	update_port(relay);
}

static void update_client(struct client *client)
{
	int events = 0;

	if (client->closing)
		return;
	if (client->peer_ended && !client->out.len) {
		client_close(client);
		return;
	}
	if (client->out.len)
		events |= UV_WRITABLE;
	if (client->stream && !client->read_all && frame_room(client->stream))
		events |= UV_READABLE;
	else if (!client->leaving) /* reading cannot tell */
		events |= UV_DISCONNECT;
	if (events)
		(void)uv_poll_start(&client->poll, events, client_ready);
	else
		(void)uv_poll_stop(&client->poll);
}

static void passage_ended(void *owner)
{
	struct client *client = owner;
	struct relay *relay = client->relay;

	client->passage = NULL;
	client_close(client);
	update_port(relay);
}

static void dialled(void *owner, int guest)
{
	struct client *client = owner;

	client->dial = NULL;
	(void)uv_timer_stop(&client->hold);
	uv_close((uv_handle_t *)&client->poll, client_handle_closed);
	client->passage = passage_start(client->relay->loop, take_fd(&client->fd), guest,
					passage_ended, client);
}

static void client_join(struct client *client)
{
	dial_stop(take(client->dial));
	client->stream = frame_open(client->relay->link, client);
	if (!client->stream) {
		client_close(client);
		return;
	}
	(void)uv_timer_stop(&client->hold);
	update_client(client);
}

static void client_new(struct relay *relay, int fd)
{
	struct client *client = xcalloc(1, sizeof(*client));

	client->relay = relay;
	client->fd = fd;
	client->out = (struct str)STR_INIT;
	client->poll.data = client->hold.data = client;
	client->link = &relay->clients;
	client->next = relay->clients;
	if (client->next)
		client->next->link = &client->next;
	relay->clients = client;
	relay->client_count++;
	/* fails only for a descriptor that cannot be polled, which a socket is not */
	(void)uv_poll_init(relay->loop, &client->poll, fd);
	(void)uv_timer_init(relay->loop, &client->hold);
	client->handles = 2;
	relay->handles += 2;
	(void)uv_timer_start(&client->hold, hold_over, RELAY_HOLD_MS, 0);
	if (frame_is_up(relay->link)) {
		client_join(client);
		return;
	}
	if (relay->stock_address.len)
		client->dial = dial_start(relay->loop, &relay->stock_address, dialled, client);
	update_client(client);
}

static void rest_over(uv_timer_t *timer)
{
	update_port(timer->data);
}

static void listener_ready(uv_poll_t *poll, int status unused_, int events unused_)
{
	struct relay *relay = poll->data;
	int fd = accept4(relay->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		client_new(relay, fd);
	else if (socket_must_rest(errno))
		(void)uv_timer_start(&relay->rest, rest_over, SOCKET_REST_MS, 0);
	update_port(relay);
}

/* ---- the stock agent ---- */

static void stock_changed(void *owner, bool answers)
{
	struct relay *relay = owner;

	relay->stock_answers = answers;
	relay->on_event(relay->arg, answers ? RELAY_READY : RELAY_LOST);
}

static void watch_stock(struct relay *relay)
{
	if (relay->stock_address.len && !relay->closing && !relay->hung_up)
		relay->stock =
			stock_watch(relay->loop, &relay->stock_address, stock_changed, relay);
}

static void ignore_stock(struct relay *relay)
{
	stock_release(take(relay->stock));
	relay->stock_answers = false;
}

/* ---- the link's events ---- */

static void link_up(void *arg)
{
	struct relay *relay = arg;
	bool told = relay->stock_answers;
	struct client *next;

	ignore_stock(relay);
	for (struct client *c = relay->clients; c; c = next) {
		next = c->next;
		/* a held one, and none that has yet to read what the session before left */
		if (!c->passage && !c->peer_ended)
			client_join(c);
	}
	if (!told)
		relay->on_event(relay->arg, RELAY_READY);
}

static void link_down(void *arg)
{
	struct relay *relay = arg;

	if (relay->closing || relay->hung_up)
		return;
	watch_stock(relay);
	relay->on_event(relay->arg, RELAY_LOST);
}

static void *link_opened(void *arg unused_, struct frame_stream *stream unused_)
{
	return NULL; /* never: the host's link refuses OPEN */
}

static void stream_data(void *owner, const uint8_t *bytes, size_t len)
{
	struct client *client = owner;

	str_add(&client->out, bytes, len);
	if (client_write(client))
		update_client(client);
	else
		client_close(client);
}

static void stream_ended(void *owner)
{
	struct client *client = owner;

	client->peer_ended = true;
	update_client(client);
}

static void stream_writable(void *owner)
{
	update_client(owner);
}

/* What came before is still the client's. */
static void stream_closed(void *owner, bool clean unused_)
{
	struct client *client = owner;

	client->stream = NULL;
	client->peer_ended = true;
	update_client(client);
}

static const struct frame_events frame_events = {
	.up = link_up,
	.down = link_down,
	.opened = link_opened,
	.data = stream_data,
	.ended = stream_ended,
	.writable = stream_writable,
	.closed = stream_closed,
};

/* ---- the port ---- */

static void hang_up(struct relay *relay)
{
	relay->hung_up = true;
	(void)uv_poll_stop(&relay->port);
	(void)uv_poll_stop(&relay->listener);
	(void)uv_timer_stop(&relay->regreet);
	(void)uv_timer_stop(&relay->rest);
	frame_stop(relay->link);
	ignore_stock(relay);
	while (relay->clients)
		client_close(relay->clients);
	relay->on_event(relay->arg, RELAY_HANGUP);
}

static void regreet(uv_timer_t *timer)
{
	struct relay *relay = timer->data;

	frame_start(relay->link);
	update_port(relay);
}

/* Return: is the port still there? */
static bool port_read(struct relay *relay)
{
	ssize_t n = read(relay->port_fd, relay->buffer, READ_SIZE);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	if (frame_receive(relay->link, relay->buffer, (size_t)n) < 0 && !relay->closing) {
		frame_stop(relay->link);
		(void)uv_timer_start(&relay->regreet, regreet, REGREET_MS, 0);
	}
	return true;
}

static bool port_write(struct relay *relay)
{
	struct slice out = frame_output(relay->link);
	ssize_t n = 0;

	if (out.len)
		n = send(relay->port_fd, out.ptr, out.len, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	frame_sent(relay->link, (size_t)n);
	return true;
}

static void port_ready(uv_poll_t *poll, int status, int events)
{
	struct relay *relay = poll->data;
	bool alive = status == 0;

	if (alive && (events & UV_READABLE))
		alive = port_read(relay);
	if (alive && (events & UV_WRITABLE) && !relay->closing)
		alive = port_write(relay);
	if (relay->closing)
		return;
	if (alive)
		update_port(relay);
	else
		hang_up(relay);
}

/* Watch for what makes sense now. */
static void update_port(struct relay *relay)
{
	size_t waiting;

	if (relay->closing || relay->hung_up)
		return;
	waiting = frame_output(relay->link).len;
	(void)uv_poll_start(&relay->port, waiting ? UV_READABLE | UV_WRITABLE : UV_READABLE,
			    port_ready);
	if (relay->client_count < RELAY_CLIENTS_MAX && waiting < FRAME_BACKLOG_MAX &&
	    !uv_is_active((uv_handle_t *)&relay->rest))
		(void)uv_poll_start(&relay->listener, UV_READABLE, listener_ready);
	else
		(void)uv_poll_stop(&relay->listener);
}

static int init_handles(struct relay *relay)
{
	int r = uv_poll_init(relay->loop, &relay->port, relay->port_fd);

	relay->port.data = relay->listener.data = relay->regreet.data = relay->rest.data = relay;
	if (r == 0)
		relay->own_handles = 1;
	if (r == 0 && (r = uv_timer_init(relay->loop, &relay->regreet)) == 0)
		relay->own_handles = 2;
	if (r == 0 && (r = uv_timer_init(relay->loop, &relay->rest)) == 0)
		relay->own_handles = 3;
	if (r == 0 && (r = uv_poll_init(relay->loop, &relay->listener, relay->listen_fd)) == 0)
		relay->own_handles = 4;
	relay->handles = relay->own_handles;
	return r;
}

int relay_new(uv_loop_t *loop, int serial_fd, int listen_fd, const struct dial_address *stock,
	      void (*on_event)(void *arg, enum relay_event event), void *arg, struct relay **out,
	      struct error *err)
{
	struct relay *relay = xcalloc(1, sizeof(*relay));
	int r;

	relay->loop = loop;
	relay->on_event = on_event;
	relay->arg = arg;
	relay->port_fd = serial_fd;
	relay->listen_fd = listen_fd;
	relay->link = frame_link_new(FRAME_HOST, &frame_events, relay);
	(void)fcntl(serial_fd, F_SETFL, fcntl(serial_fd, F_GETFL) | O_NONBLOCK);
	(void)fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
	r = init_handles(relay);
	if (r < 0) {
		relay_close(relay);
		return error_set(err, -r, "cannot watch the agent's port: %s", uv_strerror(r));
	}
	if (stock)
		relay->stock_address = *stock;
	watch_stock(relay);
	frame_start(relay->link);
	update_port(relay);
	*out = relay;
	return 0;
}

void relay_close(struct relay *relay)
{
	uv_handle_t *own[4];
	unsigned count;

	if (!relay || relay->closing)
		return;
	relay->closing = true;
	own[0] = (uv_handle_t *)&relay->port;
	own[1] = (uv_handle_t *)&relay->regreet;
	own[2] = (uv_handle_t *)&relay->rest;
	own[3] = (uv_handle_t *)&relay->listener;
	while (relay->clients)
		client_close(relay->clients);
	ignore_stock(relay);
	frame_stop(relay->link);
	relay->handles++; /* ours, until all others are on their way */
	count = relay->own_handles;
	assert(count <= array_size(own));
	for (unsigned i = 0; i < count; i++)
		uv_close(own[i], own_closed);
	(void)close(relay->port_fd);
	(void)close(relay->listen_fd);
	handle_closed(relay);
}
