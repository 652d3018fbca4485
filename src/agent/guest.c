/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A virtio-serial port has no connections. When the host's side is away, poll
 * says POLLHUP for ever and read() returns 0 at once, so a naive loop spins: the port is
 * closed, opened anew and looked at every RETRY_MS. Once the host's side is there, the
 * link greets (agent/frame.h).
 *
 * Bytes from a server go to its stream while frame_room() or the socket takes
 * them; the rest stays where nghttp2 keeps it (`pending`).
 */

#include "agent/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include "agent/frame.h"
#include "agent/loop.h"
#include "agent/server.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/socket.h"

enum {
	RETRY_MS = 100,
	VSOCK_RETRY_MS = 5000,
	VSOCK_TRIES = 12,
	CONNECTIONS_MAX = 256,
	READ_SIZE = 65536,
};

/* One client. */
struct peer {
	struct guest *guest;
	struct peer *next, **link; /* of guest->peers */
	struct server *server;
	const uint8_t *pending; /* server's bytes that are not sent yet */
	size_t pending_len;
	struct frame_stream *stream; /* through the port, or */
	struct watch socket;
};

struct listener {
	struct guest *guest;
	struct watch watch;
	struct timer rest; /* while it is not watched: the system has no more to give */
	bool vsock;
};

struct guest {
	struct loop *loop;
	struct login *login;
	struct peer *peers;
	size_t sockets; /* peers that are connections */
	struct listener vsock, local;
	struct timer vsock_timer;
	unsigned vsock_tries;

	const char *port_path;
	struct watch port;
	struct timer port_timer;
	struct frame_link *link;
	bool receiving; /* within frame_receive(): write afterwards */
};

static uint8_t buffer[READ_SIZE];

/* ---- peers ---- */

static struct peer *peer_new(struct guest *guest, void (*wake)(void *arg))
{
	struct peer *peer = xcalloc(1, sizeof(*peer));

	peer->guest = guest;
	peer->socket.fd = -1;
	peer->server = server_new(guest->loop, guest->login, wake, peer);
	peer->link = &guest->peers;
	peer->next = guest->peers;
	if (peer->next)
		peer->next->link = &peer->next;
	guest->peers = peer;
	return peer;
}

static void peer_free(struct peer *peer)
{
	*peer->link = peer->next;
	if (peer->next)
		peer->next->link = peer->link;
	if (peer->socket.fd >= 0) {
		loop_watch(peer->guest->loop, &peer->socket, 0);
		(void)close(peer->socket.fd);
		peer->guest->sockets--;
	}
	server_free(peer->server);
	free(peer);
}

/* Have something pending. Return: 1; 0 nothing to send; or error. */
static int fill(struct peer *peer)
{
	ssize_t n;

	if (peer->pending_len)
		return 1;
	n = server_output(peer->server, &peer->pending);
	if (n <= 0)
		return n < 0 ? -E_PROTOCOL : 0;
	peer->pending_len = (size_t)n;
	return 1;
}

static void sent(struct peer *peer, size_t n)
{
	peer->pending += n;
	peer->pending_len -= n;
}

/* ---- streams of the port ---- */

static void port_write(struct guest *guest);

static void stream_pump(struct peer *peer)
{
	size_t room;
	int r = 0;

	while ((room = frame_room(peer->stream)) && (r = fill(peer)) > 0) {
		if (room > peer->pending_len)
			room = peer->pending_len;
		frame_send(peer->stream, peer->pending, room);
		sent(peer, room);
	}
	if (r < 0 || (!peer->pending_len && server_is_done(peer->server))) {
		frame_reset(peer->stream);
		peer_free(peer);
	}
}

static void stream_wake(void *arg)
{
	struct peer *peer = arg;
	struct guest *guest = peer->guest;

	if (!peer->stream)
		return;
	stream_pump(peer);
	if (!guest->receiving)
		port_write(guest);
}

static void *stream_opened(void *arg, struct frame_stream *stream)
{
	struct peer *peer = peer_new(arg, stream_wake);

	peer->stream = stream;
	return peer;
}

static void stream_data(void *owner, const uint8_t *bytes, size_t len)
{
	struct peer *peer = owner;

	if (server_receive(peer->server, bytes, len) < 0) {
		frame_reset(peer->stream);
		peer_free(peer);
		return;
	}
	frame_consumed(peer->stream, len);
	stream_pump(peer);
}

/* A client that sends no more is gone: HTTP/2 has no half-closed connections. */
static void stream_ended(void *owner)
{
	struct peer *peer = owner;

	frame_reset(peer->stream);
	peer_free(peer);
}

static void stream_writable(void *owner)
{
	stream_pump(owner);
}

static void stream_closed(void *owner, bool clean unused_)
{
	peer_free(owner);
}

static void nothing(void *arg unused_)
{
}

static const struct frame_events frame_events = {
	.up = nothing,
	.down = nothing,
	.opened = stream_opened,
	.data = stream_data,
	.ended = stream_ended,
	.writable = stream_writable,
	.closed = stream_closed,
};

/* ---- the port ---- */

static void port_lost(struct guest *guest)
{
	loop_watch(guest->loop, &guest->port, 0);
	(void)close(take_fd(&guest->port.fd));
	frame_stop(guest->link);
	loop_timer(guest->loop, &guest->port_timer, RETRY_MS);
}

static void port_write(struct guest *guest)
{
	struct slice out;

	while (guest->port.fd >= 0 && (out = frame_output(guest->link)).len) {
		ssize_t n = write(guest->port.fd, out.ptr, out.len);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR) {
			port_lost(guest);
			return;
		}
		if (n > 0)
			frame_sent(guest->link, (size_t)n);
	}
	if (guest->port.fd >= 0)
		loop_watch(guest->loop, &guest->port,
			   frame_output(guest->link).len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void port_read(struct guest *guest)
{
	ssize_t n = read(guest->port.fd, buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		port_lost(guest);
		return;
	}
	guest->receiving = true;
	if (frame_receive(guest->link, buffer, (size_t)n) < 0)
		frame_start(guest->link);
	guest->receiving = false;
}

static void port_ready(struct watch *watch, uint32_t events)
{
	struct guest *guest = (struct guest *)((char *)watch - offsetof(struct guest, port));

	if (events & ~(uint32_t)EPOLLOUT)
		port_read(guest);
	port_write(guest);
}

static int port_connect(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(name.sun_path))
		return -1;
	memcpy(name.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		return -1;
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	return take_fd(&fd);
}

static int port_open(const char *path)
{
	struct termios raw;
	struct stat st;
	int fd;

	if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		return port_connect(path);
	fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0 && tcgetattr(fd, &raw) == 0) {
		cfmakeraw(&raw);
		(void)tcsetattr(fd, TCSANOW, &raw);
	}
	return fd;
}

static bool host_is_there(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

	return poll(&p, 1, 0) >= 0 && !(p.revents & (POLLHUP | POLLERR));
}

static void port_try(struct timer *timer)
{
	struct guest *guest = (struct guest *)((char *)timer - offsetof(struct guest, port_timer));

	if (guest->port.fd < 0)
		guest->port.fd = port_open(guest->port_path);
	if (guest->port.fd < 0 || !host_is_there(guest->port.fd)) {
		loop_timer(guest->loop, timer, RETRY_MS);
		return;
	}
	frame_start(guest->link);
	port_write(guest);
}

void guest_serve_port(struct guest *guest, const char *path)
{
	guest->port_path = path;
	guest->link = frame_link_new(FRAME_GUEST, &frame_events, guest);
	port_try(&guest->port_timer);
}

/* ---- connections ---- */

static void socket_pump(struct peer *peer)
{
	int r;

	while ((r = fill(peer)) > 0) {
		ssize_t n = send(peer->socket.fd, peer->pending, peer->pending_len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR) {
			peer_free(peer);
			return;
		}
		if (n > 0)
			sent(peer, (size_t)n);
	}
	if (r < 0 || (!peer->pending_len && server_is_done(peer->server)))
		peer_free(peer);
	else
		loop_watch(peer->guest->loop, &peer->socket,
			   peer->pending_len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void socket_wake(void *arg)
{
	struct peer *peer = arg;

	if (peer->socket.fd >= 0)
		socket_pump(peer);
}

static void socket_ready(struct watch *watch, uint32_t events)
{
	struct peer *peer = (struct peer *)((char *)watch - offsetof(struct peer, socket));
	ssize_t n = 0;

	if (events & ~(uint32_t)EPOLLOUT) {
		n = read(watch->fd, buffer, sizeof(buffer));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0 || server_receive(peer->server, buffer, (size_t)n) < 0) {
			peer_free(peer);
			return;
		}
	}
	socket_pump(peer);
}

/* Programs in the guest can reach its vsock too; only the host may. */
static bool is_allowed(const struct listener *listener, int fd)
{
	struct sockaddr_vm peer = { 0 };
	socklen_t len = sizeof(peer);

	if (listener->guest->sockets >= CONNECTIONS_MAX)
		return false;
	return !listener->vsock || (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
				    peer.svm_cid == VMADDR_CID_HOST);
}

static void accept_ready(struct watch *watch, uint32_t events unused_)
{
	struct listener *l = (struct listener *)((char *)watch - offsetof(struct listener, watch));
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct peer *peer;

	if (fd < 0) {
		if (socket_must_rest(errno)) {
			loop_watch(l->guest->loop, watch, 0);
			loop_timer(l->guest->loop, &l->rest, SOCKET_REST_MS);
		}
		return;
	}
	if (!is_allowed(l, fd)) {
		(void)close(fd);
		return;
	}
	peer = peer_new(l->guest, socket_wake);
	peer->socket = (struct watch){ .fd = fd, .ready = socket_ready };
	l->guest->sockets++;
	socket_pump(peer);
}

static void rest_over(struct timer *timer)
{
	struct listener *l = (struct listener *)((char *)timer - offsetof(struct listener, rest));

	loop_watch(l->guest->loop, &l->watch, EPOLLIN);
}

static void vsock_try(struct timer *timer)
{
	struct guest *guest = (struct guest *)((char *)timer - offsetof(struct guest, vsock_timer));
	struct sockaddr_vm name = { .svm_family = AF_VSOCK,
				    .svm_cid = VMADDR_CID_ANY,
				    .svm_port = GUEST_VSOCK_PORT };
	auto_fd fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(fd, 64) < 0) {
		if (++guest->vsock_tries < VSOCK_TRIES)
			loop_timer(guest->loop, timer, VSOCK_RETRY_MS);
		return;
	}
	guest->vsock.watch.fd = take_fd(&fd);
	loop_watch(guest->loop, &guest->vsock.watch, EPOLLIN);
}

void guest_serve_vsock(struct guest *guest)
{
	vsock_try(&guest->vsock_timer);
}

int guest_serve_socket(struct guest *guest, const char *path, struct error *err)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old;
	int r;

	if (strlen(path) >= sizeof(name.sun_path))
		return error_set(err, ENAMETOOLONG, "'%s' is too long for a socket", path);
	memcpy(name.sun_path, path, strlen(path));
	(void)unlink(path);
	old = umask(0177);
	r = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&name, sizeof(name));
	(void)umask(old);
	if (r < 0 || listen(fd, 64) < 0)
		return error_errno(err, "cannot listen on '%s'", path);
	guest->local.watch.fd = take_fd(&fd);
	loop_watch(guest->loop, &guest->local.watch, EPOLLIN);
	return 0;
}

static void listener_init(struct listener *listener, struct guest *guest, bool vsock)
{
	*listener = (struct listener){ .guest = guest,
				       .watch = { .fd = -1, .ready = accept_ready },
				       .rest.fire = rest_over,
				       .vsock = vsock };
}

struct guest *guest_new(struct loop *loop, struct login *login)
{
	struct guest *guest = xcalloc(1, sizeof(*guest));

	guest->loop = loop;
	guest->login = login;
	guest->port = (struct watch){ .fd = -1, .ready = port_ready };
	guest->port_timer.fire = port_try;
	guest->vsock_timer.fire = vsock_try;
	listener_init(&guest->vsock, guest, true);
	listener_init(&guest->local, guest, false);
	return guest;
}

static void close_watch(struct guest *guest, struct watch *watch)
{
	if (watch->fd < 0)
		return;
	loop_watch(guest->loop, watch, 0);
	(void)close(take_fd(&watch->fd));
}

void guest_free(struct guest *guest)
{
	loop_timer_stop(guest->loop, &guest->port_timer);
	loop_timer_stop(guest->loop, &guest->vsock_timer);
	loop_timer_stop(guest->loop, &guest->vsock.rest);
	loop_timer_stop(guest->loop, &guest->local.rest);
	close_watch(guest, &guest->port);
	close_watch(guest, &guest->vsock.watch);
	close_watch(guest, &guest->local.watch);
	while (guest->peers)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): peer_free() unlinks it */
		peer_free(guest->peers);
	frame_link_free(guest->link);
	free(guest);
}
