/* SPDX-License-Identifier: Apache-2.0 */
#include "net/relay_expose.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/socket.h"
#include "net/upstream.h"

enum {
	CONNECT_MS = 10 * 1000,
	CHUNK = 64 * 1024, /* of one direction of one connection in one round */
};

void expose_relay_init(struct expose_relay *relay, int keeper, int listeners, unsigned count)
{
	relay->keeper = keeper;
	relay->listeners = listeners;
	relay->count = count;
	for (unsigned i = 0; i < EXPOSE_CONNECTIONS_MAX; i++)
		relay->connections[i].world = -1;
}

struct pollfd expose_relay_listener(const struct expose_relay *relay, unsigned i)
{
	bool open = relay->used < EXPOSE_CONNECTIONS_MAX && relay->resting == 0;

	return (struct pollfd){ .fd = open ? relay->listeners + (int)i : -1, .events = POLLIN };
}

/* close() then sends a reset: a side that read only a part must not take it for the whole. */
static void will_reset(int fd)
{
	const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

static void end(struct expose_relay *relay, struct expose_connection *c, bool orderly)
{
	if (!orderly) {
		will_reset(c->world);
		will_reset(c->guest);
	}
	(void)close(c->world);
	(void)close(c->guest);
	c->world = -1;
	relay->used--;
}

static struct expose_connection *find_place(struct expose_relay *relay)
{
	for (unsigned i = 0; i < EXPOSE_CONNECTIONS_MAX; i++)
		if (relay->connections[i].world < 0)
			return &relay->connections[i];
	return NULL;
}

static void connect_guest(struct expose_relay *relay, unsigned i, int world)
{
	struct expose_connection *c = find_place(relay);
	int guest = c ? upstream_get(relay->keeper, TALKER_WANTS_GUEST, i) : -1;

	if (guest < 0) {
		will_reset(world);
		(void)close(world);
		return;
	}
	*c = (struct expose_connection){
		.world = world,
		.guest = guest,
		.connecting = true,
		.deadline = clock_ms() + CONNECT_MS,
	};
	relay->used++;
}

void expose_relay_accept(struct expose_relay *relay, unsigned i)
{
	int fd;

	if (expose_relay_listener(relay, i).fd < 0)
		return;
	fd = accept4(relay->listeners + (int)i, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		connect_guest(relay, i, fd);
	else if (socket_must_rest(errno))
		relay->resting = clock_ms() + SOCKET_REST_MS;
}

static struct pollfd side(int fd, enum expose_flow from, enum expose_flow to)
{
	short events =
		(short)((from == EXPOSE_EMPTY ? POLLIN : 0) | (to == EXPOSE_FULL ? POLLOUT : 0));

	/* poll() tells of errors unasked, for ever: nobody acts on them here before the other side
	   moves */
	return (struct pollfd){ .fd = events ? fd : -1, .events = events };
}

void expose_relay_wants(const struct expose_relay *relay, unsigned i, struct pollfd sides[2])
{
	const struct expose_connection *c = &relay->connections[i];

	if (c->world < 0) {
		sides[0] = sides[1] = (struct pollfd){ .fd = -1 };
		return;
	}
	if (c->connecting) {
		sides[0] = (struct pollfd){ .fd = c->world }; /* a reset */
		sides[1] = (struct pollfd){ .fd = c->guest, .events = POLLOUT };
		return;
	}
	sides[0] = side(c->world, c->to_guest, c->to_world);
	sides[1] = side(c->guest, c->to_world, c->to_guest);
}

static bool is_later(int error)
{
	return error == EAGAIN || error == EINTR;
}

/* One chunk, or the end, at most. Return: false where one of them is broken. */
static bool carry(int from, int to, enum expose_flow *flow)
{
	static uint8_t chunk[CHUNK];
	ssize_t n, sent;

	if (*flow == EXPOSE_ENDED)
		return true;
	*flow = EXPOSE_EMPTY;
	n = recv(from, chunk, sizeof(chunk), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return is_later(errno);
	if (n == 0) {
		*flow = EXPOSE_ENDED;
		return shutdown(to, SHUT_WR) == 0;
	}
	sent = send(to, chunk, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < n)
		*flow = EXPOSE_FULL;
	if (sent < 0)
		return is_later(errno);
	return recv(from, NULL, (size_t)sent, MSG_TRUNC | MSG_DONTWAIT) == sent;
}

/* One that is full waits for the side that takes, others for the side that gives. */
static bool move(struct expose_connection *c, const struct pollfd sides[2])
{
	bool guest = sides[c->to_guest == EXPOSE_FULL ? 1 : 0].revents != 0;
	bool world = sides[c->to_world == EXPOSE_FULL ? 0 : 1].revents != 0;

	if (guest && !carry(c->world, c->guest, &c->to_guest))
		return false;
	return !world || carry(c->guest, c->world, &c->to_world);
}

/* Return: false where nobody listens there, or who connected to us is gone. */
static bool is_connecting(struct expose_connection *c, const struct pollfd sides[2])
{
	if ((sides[0].revents | sides[1].revents) & (POLLERR | POLLHUP))
		return false;
	c->connecting = !(sides[1].revents & POLLOUT);
	return true;
}

void expose_relay_go(struct expose_relay *relay, unsigned i, const struct pollfd sides[2])
{
	struct expose_connection *c = &relay->connections[i];
	bool well;

	if (c->world < 0)
		return;
	well = c->connecting ? is_connecting(c, sides) : move(c, sides);
	if (!well || (c->to_guest == EXPOSE_ENDED && c->to_world == EXPOSE_ENDED))
		end(relay, c, well);
}

bool expose_relay_tick(struct expose_relay *relay)
{
	uint64_t now = clock_ms();
	bool waiting = false;

	if (relay->resting <= now)
		relay->resting = 0;
	for (unsigned i = 0; i < EXPOSE_CONNECTIONS_MAX; i++) {
		struct expose_connection *c = &relay->connections[i];

		if (c->world < 0 || !c->connecting)
			continue;
		if (c->deadline <= now)
			end(relay, c, false);
		else
			waiting = true;
	}
	return waiting || relay->resting;
}
