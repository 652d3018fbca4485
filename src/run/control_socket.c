/* SPDX-License-Identifier: Apache-2.0 */
#include "run/control_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

/*
 * The descriptor's flags are the caller's, too, so it is not made non-blocking: each call says that
 * it does not wait.
 */
enum { READ_MAX = 64 * 1024 };

static void step(struct control_socket *socket);

static struct control_policy in_force(const struct control_socket *socket)
{
	return (struct control_policy){
		.allow = &socket->network->rules.allow,
		.block = &socket->network->rules.block,
		.revised = socket->revised,
		.revision = socket->revision,
	};
}

static int error_of(int r)
{
	return r == -E_INVALID || r == -E_TOO_BIG ? CONTROL_INVALID_PARAMS : CONTROL_INTERNAL;
}

static void finish(struct control_socket *socket, int r, const struct error *err)
{
	struct control_policy now;

	if (r == 0 && socket->request.revised) {
		socket->revised = true;
		socket->revision = socket->request.revision;
	}
	now = in_force(socket);
	if (r == 0)
		control_answer(&socket->control, &socket->request, &now);
	else
		control_refuse(&socket->control, &socket->request, error_of(r), err->text);
	control_request_release(&socket->request);
	socket->waiting = false;
}

static void on_done(void *arg, int r, const struct error *err)
{
	struct control_socket *socket = arg;

	finish(socket, r, err);
	if (!socket->serving)
		step(socket);
}

/* The answer may be there at once, or it comes by on_done(). */
static void set(struct control_socket *socket)
{
	struct rules_change change = { .allow = &socket->request.allow,
				       .block = &socket->request.block };
	struct control_policy now = in_force(socket);
	struct error err = ERROR_INIT;
	const char *why = NULL;
	int code = control_judge(&socket->request, &now, &why), r;

	if (code != CONTROL_NO_ERROR) {
		control_refuse(&socket->control, &socket->request, code, why);
		control_request_release(&socket->request);
		return;
	}
	socket->waiting = true;
	r = network_change(socket->network, &change, on_done, socket, &err);
	if (r < 0)
		finish(socket, r, &err);
}

/* on_done() may be called in here, and then must not begin anew. */
static void serve(struct control_socket *socket)
{
	socket->serving = true;
	while (!socket->waiting && control_take(&socket->control, &socket->request)) {
		if (socket->request.set)
			set(socket);
		else
			finish(socket, 0, NULL);
	}
	socket->serving = false;
}

static void hang_up(struct control_socket *socket)
{
	(void)uv_poll_stop(&socket->poll);
	network_forget(socket->network, socket);
	control_request_release(&socket->request);
	socket->waiting = socket->ended = true; /* nothing more is taken */
	cleanup_close_(&socket->fd);
	socket->fd = -1;
}

/* Return: false: the peer is gone. */
static bool receive(struct control_socket *socket)
{
	char bytes[READ_MAX];
	ssize_t n = recv(socket->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n > 0)
		control_add(&socket->control, bytes, (size_t)n);
	else if (n == 0)
		socket->ended = true;
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static bool send_output(struct control_socket *socket)
{
	struct str *output = &socket->control.output;
	size_t sent = 0;
	ssize_t n = 1;

	while (n > 0 && sent < output->len) {
		n = send(socket->fd, output->ptr + sent, output->len - sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	str_consume(output, sent);
	return true;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct control_socket *socket = poll->data;

	if (status < 0 || ((events & UV_READABLE) && !receive(socket)))
		hang_up(socket);
	else
		step(socket);
}

/* What to wait for. @more: requests are left, for another turn of the loop. */
static void await(struct control_socket *socket, bool more)
{
	int events = 0;

	if (!socket->ended && control_wants_input(&socket->control))
		events |= UV_READABLE;
	if (socket->control.output.len || more)
		events |= UV_WRITABLE;
	if (events)
		(void)uv_poll_start(&socket->poll, events, on_ready);
	else
		(void)uv_poll_stop(&socket->poll);
}

/* The peer asks nothing any more, and has all answers. */
static bool is_over(const struct control_socket *socket)
{
	return socket->ended && !socket->waiting && socket->control.output.len == 0;
}

/* What can be done now. */
static void step(struct control_socket *socket)
{
	bool more;

	if (socket->fd < 0)
		return;
	serve(socket);
	more = !socket->waiting && socket->control.output.len > CONTROL_FRAME_MAX;
	if (!send_output(socket) || (!more && is_over(socket)))
		hang_up(socket);
	else
		await(socket, more);
}

int control_socket_start(struct control_socket *socket, uv_loop_t *loop, struct network *network,
			 int fd, struct error *err)
{
	socket->fd = fd;
	socket->network = network;
	socket->poll.data = socket;
	if (uv_poll_init(loop, &socket->poll, fd) != 0)
		return error_set(err, E_FAILED, "cannot watch the control socket");
	step(socket);
	return 0;
}

void control_socket_release(struct control_socket *socket)
{
	cleanup_close_(&socket->fd);
	socket->fd = -1;
	control_request_release(&socket->request);
	control_release(&socket->control);
}
