/* SPDX-License-Identifier: Apache-2.0 */
#include "run/requests.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/socket.h"
#include "machine/qmp.h"
#include "run/net_request.h"
#include "run/session.h"
#include "store/manage.h"

enum { REQUEST_MS = 10000, ANSWER_MS = 10000, DRAW_MS = 20000 };

struct request {
	struct requests *requests;
	int client; /* owned */
	uv_poll_t poll;
	uv_timer_t timer; /* to the end of a request or of an answer */
	struct manage_input input;
	struct str answer;
	size_t sent;
	bool answered;
	unsigned open_handles;
	struct request *next;
};

static void on_listening(uv_poll_t *poll, int status, int events);

static void request_free(struct request *request)
{
	cleanup_close_(&request->client);
	manage_input_release(&request->input);
	str_release(&request->answer);
	free(request);
}

static void on_closed(uv_handle_t *handle)
{
	struct request *request = handle->data;
	struct requests *requests = request->requests;
	struct request **at = &requests->first;

	if (--request->open_handles)
		return;
	while (*at != request)
		at = &(*at)->next;
	*at = request->next;
	request_free(request);
	if (requests->count-- == REQUESTS_MAX && !uv_is_closing((uv_handle_t *)&requests->poll))
		(void)uv_poll_start(&requests->poll, UV_READABLE, on_listening);
}

static void close_handle(uv_handle_t *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, on_closed);
}

void request_drop(struct request *request)
{
	network_forget(request_network(request), request);
	qmp_forget(request->requests->session->qmp, request);
	close_handle((uv_handle_t *)&request->poll);
	close_handle((uv_handle_t *)&request->timer);
}

struct network *request_network(const struct request *request)
{
	return &request->requests->session->network;
}

static void on_time_out(uv_timer_t *timer)
{
	request_drop(timer->data);
}

/* Return: false: all is sent, or the client is gone. */
static bool send_answer(struct request *request)
{
	size_t left = request->answer.len - request->sent;
	ssize_t n = send(request->client, request->answer.ptr + request->sent, left,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	request->sent += (size_t)n;
	return request->sent < request->answer.len;
}

static void on_client(uv_poll_t *poll, int status, int events);

static void begin_answer(struct request *request)
{
	request->answered = true;
	str_addc(&request->answer, '\n');
	if (!send_answer(request)) {
		request_drop(request);
		return;
	}
	(void)uv_timer_start(&request->timer, on_time_out, ANSWER_MS, 0);
	(void)uv_poll_start(&request->poll, UV_WRITABLE, on_client);
}

void request_answer(struct request *request, const struct str *line)
{
	str_add(&request->answer, line->ptr, line->len);
	begin_answer(request);
}

void request_fail(struct request *request, const struct error *err)
{
	str_addf(&request->answer, "error %s", err->text);
	begin_answer(request);
}

/* "ok", or why not. */
static void answer_result(struct request *request, int r, const struct error *err)
{
	struct str ok = { .ptr = (char[]){ "ok" }, .len = 2 };

	/* QEMU has gone, and so will we: that is the answer */
	if (r == -EPIPE || r == -ECONNRESET)
		request_drop(request);
	else if (r < 0)
		request_fail(request, err);
	else
		request_answer(request, &ok);
}

static void freeze(struct request *request)
{
	struct session *session = request->requests->session;
	struct error err = ERROR_INIT;
	int r = manage_check_lock(&session->vm, &request->input, &err);

	if (r == 0)
		r = session_freeze(session, &err);
	answer_result(request, r, &err);
}

static void on_drawn(void *arg, int result, const struct error *err)
{
	struct request *request = arg;

	(void)uv_timer_stop(&request->timer);
	answer_result(request, result, err);
}

static void on_slow_drawing(uv_timer_t *timer)
{
	struct request *request = timer->data;
	struct error err = ERROR_INIT;

	qmp_forget(request->requests->session->qmp, request);
	answer_result(request, error_set(&err, ETIMEDOUT, "QEMU does not answer"), &err);
}

static void draw_screen(struct request *request)
{
	struct error err = ERROR_INIT;
	int r = desk_screenshot(request->requests->session, request->input.lock, on_drawn, request,
				&err);

	if (r < 0)
		answer_result(request, r, &err);
	else
		(void)uv_timer_start(&request->timer, on_slow_drawing, DRAW_MS, 0);
}

static void dispatch(struct request *request)
{
	struct error err = ERROR_INIT;
	const struct str *line = &request->input.line;

	(void)uv_timer_stop(&request->timer);
	/* a client that goes while its request is worked on is noticed */
	(void)uv_poll_start(&request->poll, UV_DISCONNECT, on_client);
	if (strcmp(line->ptr, "freeze") == 0) {
		freeze(request);
	} else if (strcmp(line->ptr, "screenshot") == 0) {
		draw_screen(request);
	} else if (line->ptr[0] == '{') {
		net_request_serve(request_network(request), line, request);
	} else {
		(void)error_set(&err, E_PROTOCOL, "unknown request '%.40s'", line->ptr);
		request_fail(request, &err);
	}
}

static void take_input(struct request *request)
{
	struct error err = ERROR_INIT;
	int r = manage_read(request->client, &request->input, &err);

	if (r > 0)
		dispatch(request);
	else if (r == -E_PROTOCOL)
		request_fail(request, &err);
	else if (r < 0)
		request_drop(request);
}

static void on_client(uv_poll_t *poll, int status, int events)
{
	struct request *request = poll->data;

	if (status == 0 && !request->answered && (events & UV_READABLE))
		take_input(request);
	else if (status < 0 || !request->answered || !send_answer(request))
		request_drop(request); /* all is sent, or nobody is there */
}

/* manage.sock is 0600 in the VM's directory; whom we answer is checked all the same. */
static bool may_ask(int client)
{
	return socket_peer_is(client, geteuid()) || socket_peer_is(client, 0);
}

static void add_request(struct requests *requests, int client)
{
	struct request *request = xcalloc(1, sizeof(*request));
	struct error err = ERROR_INIT;
	uv_loop_t *loop = requests->poll.loop;

	*request = (struct request){ .requests = requests,
				     .client = client,
				     .input = MANAGE_INPUT_INIT,
				     .answer = STR_INIT,
				     .open_handles = 2,
				     .next = requests->first };
	if (uv_poll_init(loop, &request->poll, client) != 0) {
		request_free(request);
		return;
	}
	(void)uv_timer_init(loop, &request->timer);
	request->poll.data = request->timer.data = request;
	requests->first = request;
	if (++requests->count == REQUESTS_MAX)
		(void)uv_poll_stop(&requests->poll);
	(void)uv_timer_start(&request->timer, on_time_out, REQUEST_MS, 0);
	(void)uv_poll_start(&request->poll, UV_READABLE, on_client);
	if (!may_ask(client)) {
		(void)error_set(&err, EPERM, "not permitted");
		request_fail(request, &err);
	}
}

static void on_rest_over(uv_timer_t *timer)
{
	struct requests *requests = timer->data;

	if (requests->count < REQUESTS_MAX)
		(void)uv_poll_start(&requests->poll, UV_READABLE, on_listening);
}

static void on_listening(uv_poll_t *poll, int status, int events)
{
	struct requests *requests = poll->data;
	int client = accept4(requests->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)status;
	(void)events;
	if (client >= 0) {
		add_request(requests, client);
	} else if (socket_must_rest(errno)) {
		(void)uv_poll_stop(poll);
		(void)uv_timer_start(&requests->rest, on_rest_over, SOCKET_REST_MS, 0);
	}
}

int requests_start(struct requests *requests, struct session *session, uv_loop_t *loop,
		   int listening, struct error *err)
{
	requests->session = session;
	requests->listening = listening;
	requests->poll.data = requests->rest.data = requests;
	(void)uv_timer_init(loop, &requests->rest);
	if (uv_poll_init(loop, &requests->poll, listening) != 0 ||
	    uv_poll_start(&requests->poll, UV_READABLE, on_listening) != 0)
		return error_set(err, E_FAILED, "cannot watch a descriptor");
	return 0;
}

void requests_release(struct requests *requests)
{
	while (requests->first) {
		struct request *request = requests->first;

		requests->first = request->next;
		request_free(request);
	}
	cleanup_close_(&requests->listening);
	requests->listening = -1;
}
