/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A call is one nghttp2 client session with one stream. What we send waits in
 * `request`, which standard input fills only while it is short; what comes
 * in is written to standard output and error at once, blocking, so that a
 * reader that stalls closes HTTP/2's window and with it the guest's pipe.
 *
 * A message may be 4 MiB, but its parts arrive within a window of
 * WINDOW bytes; the reader holds at most one message and one window.
 */

#include "agent/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/address.h"
#include "agent/call.h"
#include "agent/proto.h"
#include "agent/terminal.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"

enum {
	INPUT_SIZE = 65536, /* one chunk of standard input */
	READ_SIZE = 65536,
};

struct exec {
	struct call *call;
	const struct client_streams *streams; /* NULL: 0, 1 and 2 */
	bool input_open;
	int size_fd; /* readable: the terminal's size changed; -1 */
	bool exited;
	int code;
	bool output_closed; /* nobody reads ours any more */
};

/* ---- moving bytes ---- */

/* Write what the call has to say. Return: 0, or -EPIPE where the other end is gone. */
static int send_some(struct call *call, int fd)
{
	struct slice out;

	while ((out = call_output(call)).len) {
		ssize_t n = send(fd, out.ptr, out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR)
			return -EPIPE;
		if (n > 0)
			call_sent(call, (size_t)n);
	}
	return 0;
}

/* Return: 1 something came; 0 nothing yet; -EPIPE the end; or error. */
static int receive_some(struct call *call, int fd, struct error *err)
{
	uint8_t buffer[READ_SIZE];
	ssize_t n = read(fd, buffer, sizeof(buffer));
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -EPIPE;
	r = call_receive(call, buffer, (size_t)n, err);
	return r < 0 ? r : 1;
}

static void read_input(struct exec *exec)
{
	char buffer[INPUT_SIZE];
	ssize_t n = read(0, buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		exec->input_open = false;
	proto_add_input(call_request(exec->call), buffer, n > 0 ? (size_t)n : 0);
	call_request_added(exec->call);
}

/* From the caller, as much as the call wants now. */
static int take_input(struct exec *exec, int fd, struct error *err)
{
	auto_str bytes = STR_INIT;
	int r = 1;

	while (r > 0 && call_wants_input(exec->call)) {
		str_reset(&bytes);
		r = exec->streams->input(exec->streams->arg, &bytes, err);
		if (r > 0 && !bytes.len) /* an empty chunk would be the end */
			continue;
		if (r >= 0)
			proto_add_input(call_request(exec->call), bytes.ptr, r ? bytes.len : 0);
		call_request_added(exec->call);
		exec->input_open = r > 0;
		if (send_some(exec->call, fd) < 0) /* step() will see that */
			break;
	}
	return r < 0 ? r : 0;
}

static void read_size(struct exec *exec)
{
	char buffer[64];

	while (read(exec->size_fd, buffer, sizeof(buffer)) > 0)
		;
	proto_add_resize(call_request(exec->call), terminal_size());
	call_request_added(exec->call);
}

/* What is left of @ms since @start; at least 0. */
static int left(uint64_t start, unsigned ms)
{
	uint64_t passed = clock_ms() - start;

	return passed >= ms ? 0 : (int)(ms - passed);
}

/*
 * Wait for one event, for @timeout ms (-1: for ever), and deal with it.
 * @exec may be NULL. Return: 1; 0 time-out; -EPIPE the stream ended; or error.
 */
static int step(struct call *call, int fd, struct exec *exec, int timeout, struct error *err)
{
	int n, r = send_some(call, fd); /* first: it makes room for input */
	/* not before somebody answers: who tries again shall have lost nothing */
	bool input = exec && exec->input_open && call_has_answered(call) && call_wants_input(call);
	bool ours = exec && !exec->streams;
	struct pollfd fds[3] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = input && ours ? 0 : -1, .events = POLLIN },
		{ .fd = exec ? exec->size_fd : -1, .events = POLLIN },
	};

	if (r == 0 && input && !ours)
		r = take_input(exec, fd, err);
	if (r < 0 && r != -EPIPE)
		return r;
	if (call_is_done(call)) /* what was sent was why a broken session ends */
		return 1;
	if (r == 0 && call_output(call).len)
		fds[0].events |= POLLOUT;
	n = poll(fds, 3, timeout);
	if (n == 0)
		return 0;
	if (n < 0)
		return errno == EINTR ? 1 : error_errno(err, "cannot wait for the agent");
	if (exec && fds[1].revents)
		read_input(exec);
	if (exec && fds[2].revents)
		read_size(exec);
	if (fds[0].revents & ~POLLOUT) {
		r = receive_some(call, fd, err);
		return r < 0 ? r : 1;
	}
	return 1;
}

static int unanswered(struct error *err)
{
	return error_set(err, ENOTCONN, "the agent does not answer");
}

/* Run until the call is done, or @timeout_ms (0: none) is over, or @answer_ms without one byte. */
static int run(struct call *call, int fd, struct exec *exec, unsigned answer_ms,
	       unsigned timeout_ms, struct error *err)
{
	uint64_t start = clock_ms();

	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	while (!call_is_done(call) && !(exec && exec->output_closed)) {
		bool answered = call_has_answered(call);
		int wait = timeout_ms ? left(start, timeout_ms) : -1;
		int r;

		if (!answered && !timeout_ms)
			wait = left(start, answer_ms);
		/* an agent that talks all the time does not outlast it */
		if (timeout_ms && wait == 0)
			return error_set(err, ETIMEDOUT, "the agent takes too long");
		r = step(call, fd, exec, wait, err);
		if (r == 0 && !answered && !timeout_ms)
			return unanswered(err);
		if (r == 0)
			return error_set(err, ETIMEDOUT, "the agent takes too long");
		if (r == -EPIPE && !call_has_answered(call))
			return unanswered(err);
		if (r == -EPIPE)
			return error_set(err, E_FAILED,
					 "the connection to the VM's agent was lost");
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- exec ---- */

/* Return: is there still somebody who reads it? */
static bool write_out(int fd, struct slice s)
{
	while (s.len) {
		ssize_t n = write(fd, s.ptr, s.len);

		if (n < 0 && errno == EAGAIN) { /* somebody else's file status flags */
			struct pollfd p = { .fd = fd, .events = POLLOUT };

			(void)poll(&p, 1, -1);
		} else if (n < 0 && errno != EINTR) {
			return false;
		} else if (n > 0) {
			s.ptr += n;
			s.len -= (size_t)n;
		}
	}
	return true;
}

static int exec_message(void *arg, struct slice message, struct error *err)
{
	struct exec *exec = arg;
	struct proto_response response;

	if (proto_parse_response(message, &response) < 0)
		return error_set(err, E_PROTOCOL, "the agent sent a malformed message");
	if (exec->exited)
		return 0;
	switch (response.kind) {
	case PROTO_RESPONSE_EXIT:
		exec->exited = true;
		exec->code = (int)((uint32_t)response.code & 0xff);
		break;
	case PROTO_RESPONSE_OUTPUT:
		if (exec->streams)
			return exec->streams->output(exec->streams->arg, response.output.ptr,
						     response.output.len, err);
		exec->output_closed |= !write_out(1, response.output);
		break;
	case PROTO_RESPONSE_ERROR:
		if (exec->streams)
			exec->streams->complaint(exec->streams->arg, response.output.ptr,
						 response.output.len);
		else
			(void)write_out(2, response.output);
		break;
	case PROTO_RESPONSE_NONE:
		break;
	}
	return 0;
}

static struct slice text(const char *s)
{
	return (struct slice){ (const uint8_t *)s, strlen(s) };
}

static void add_variable(struct slices *env, const char *entry)
{
	size_t key = strcspn(entry, "=");

	slices_add(env, (struct slice){ (const uint8_t *)entry, key });
	slices_add(env, text(entry[key] ? entry + key + 1 : ""));
}

static void add_command(struct str *request, const struct client_exec *how)
{
	auto_proto_command command = PROTO_COMMAND_INIT;
	const char *term = getenv("TERM");

	command.name = text(how->argv[0]);
	for (size_t i = 1; how->argv[i]; i++)
		slices_add(&command.args, text(how->argv[i]));
	command.interactive = how->interactive;
	command.tty = how->tty;
	if (how->tty)
		command.size = terminal_size();
	if (how->tty && term && *term) {
		slices_add(&command.env, text("TERM"));
		slices_add(&command.env, text(term));
	}
	for (size_t i = 0; how->env && i < how->env->len; i++)
		add_variable(&command.env, how->env->items[i]);
	if (how->workdir)
		command.workdir = text(how->workdir);
	command.detach = how->detach;
	proto_add_command(request, &command);
}

/* How a call that is over counts. */
static int exec_result(const struct exec *exec, struct error *err)
{
	int r;

	if (exec->exited)
		return exec->code;
	if (exec->output_closed)
		return 128 + SIGPIPE;
	r = call_status(exec->call, err);
	if (r < 0)
		return r;
	return error_set(err, E_FAILED, "the command ended without an exit code");
}

int client_exec(int fd, const struct client_exec *how, struct error *err)
{
	struct exec exec = { .streams = how->streams,
			     .input_open = how->interactive,
			     .size_fd = -1 };
	int r;

	exec.call = call_new(PROTO_PATH_EXEC, exec_message, &exec);
	add_command(call_request(exec.call), how);
	if (call_request(exec.call)->len > PROTO_MESSAGE_MAX) {
		call_free(exec.call);
		return error_set(err, E_TOO_BIG, "the command line is too long");
	}
	call_request_added(exec.call);
	if (how->tty)
		exec.size_fd = terminal_watch_size();
	if (how->tty && how->interactive)
		terminal_raw(0);
	r = run(exec.call, fd, &exec, how->answer_ms, 0, err);
	terminal_restore();
	if (r == 0 || exec.exited)
		r = exec_result(&exec, err);
	call_free(exec.call);
	return r;
}

/* ---- address ---- */

struct resolve {
	bool found;
	struct in_addr address;
};

static int resolve_message(void *arg, struct slice message, struct error *err)
{
	struct resolve *resolve = arg;
	char text_form[INET_ADDRSTRLEN] = { 0 };
	struct slice ip;

	if (proto_parse_address(message, &ip) < 0 || ip.len >= sizeof(text_form))
		return error_set(err, E_PROTOCOL, "the agent sent a malformed message");
	memcpy(text_form, ip.ptr, ip.len);
	/* nor may a guest send whoever asks for it to the host itself */
	if (inet_pton(AF_INET, text_form, &resolve->address) != 1 ||
	    !address_is_global(resolve->address))
		return error_set(err, E_PROTOCOL, "the agent sent no address of a guest");
	resolve->found = true;
	return 0;
}

int client_resolve_ip(int fd, unsigned timeout_ms, struct in_addr *address, struct error *err)
{
	struct resolve resolve = { 0 };
	struct call *call = call_new(PROTO_PATH_RESOLVE_IP, resolve_message, &resolve);
	int r;

	proto_add_empty(call_request(call));
	call_request_ends(call);
	r = run(call, fd, NULL, timeout_ms, timeout_ms ? timeout_ms : 1, err);
	if (r == 0)
		r = call_status(call, err);
	if (r == 0 && !resolve.found)
		r = error_set(err, E_PROTOCOL, "the agent sent no address");
	if (r == 0)
		*address = resolve.address;
	call_free(call);
	return r;
}
