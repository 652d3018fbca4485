/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A call is one HTTP/2 stream. Its request messages are taken as they come,
 * and the stream's window is given back as they are dealt with: once
 * JOB_INPUT_MAX bytes wait for the command to read them, no more window is
 * given (`held`). The connection's window is always given back, so that a
 * command that does not read delays no other call.
 *
 * Its response waits in `out`; above OUT_HIGH the command's output is no
 * longer read. When the response is finished and out is empty, trailers with
 * grpc-status end the stream.
 */

#include "agent/server.h"

#include <arpa/inet.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

#include "agent/address.h"
#include "agent/job.h"
#include "agent/proto.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

enum {
	CALLS_MAX = 128, /* of one client at once */
	STREAM_WINDOW = 256 * 1024,
	CONNECTION_WINDOW = 1024 * 1024,
	OUT_HIGH = 128 * 1024,
	OUT_LOW = 32 * 1024,
};

enum method { METHOD_UNKNOWN, METHOD_EXEC, METHOD_RESOLVE_IP };

struct call {
	struct server *server;
	struct call *next;
	int32_t id;
	enum method method;
	bool responded; /* headers went out */
	bool finished; /* nothing is added to out */
	enum proto_status status;
	const char *why;
	struct proto_reader in;
	size_t held; /* received bytes whose window is not given back */
	struct str out;
	size_t out_done;
	struct job *job; /* runs */
	bool has_command;
};

struct server {
	struct loop *loop;
	struct login *login;
	nghttp2_session *session;
	struct call *calls;
	void (*wake)(void *arg);
	void *arg;
	bool busy; /* within nghttp2: wake later */
};

static void wake(struct server *server)
{
	if (!server->busy)
		server->wake(server->arg);
}

/* ---- response ---- */

#define FIELD(n, v)                                                                             \
	{                                                                                       \
		(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), sizeof(n) - 1, strlen(v), \
			NGHTTP2_NV_FLAG_NO_COPY_NAME                                            \
	}

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t len,
			uint32_t *flags, nghttp2_data_source *source, void *arg unused_)
{
	struct call *call = source->ptr;
	size_t have = call->out.len - call->out_done;

	if (!have && !call->finished)
		return NGHTTP2_ERR_DEFERRED;
	if (len > have)
		len = have;
	memcpy(buffer, call->out.ptr + call->out_done, len);
	call->out_done += len;
	if (call->out_done == call->out.len || call->out_done >= OUT_LOW) {
		str_consume(&call->out, call->out_done);
		call->out_done = 0;
	}
	if (call->job && call->out.len <= OUT_LOW)
		job_pause(call->job, false);
	if (call->finished && call->out.len == call->out_done) {
		char status[16];

		(void)snprintf(status, sizeof(status), "%u", (unsigned)call->status);
		nghttp2_nv trailers[] = { FIELD("grpc-status", status),
					  FIELD("grpc-message", call->why) };

		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(session, id, trailers, *call->why ? 2 : 1) != 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return (ssize_t)len;
}

/* There is more in out, or it is finished. */
static void respond(struct call *call)
{
	nghttp2_session *session = call->server->session;
	nghttp2_nv headers[] = { FIELD(":status", "200"),
				 FIELD("content-type", "application/grpc") };
	nghttp2_data_provider provider = { .source.ptr = call, .read_callback = read_out };

	if (call->responded)
		(void)nghttp2_session_resume_data(session, call->id);
	else
		(void)nghttp2_submit_response(session, call->id, headers, array_size(headers),
					      &provider);
	call->responded = true;
	wake(call->server);
}

static void finish(struct call *call, enum proto_status status, const char *why)
{
	if (call->finished)
		return;
	call->finished = true;
	call->status = status;
	call->why = why;
	respond(call);
}

/* ---- exec ---- */

static void job_output(void *arg, enum proto_response_kind kind, const void *bytes, size_t len)
{
	struct call *call = arg;

	proto_add_output(&call->out, kind, bytes, len);
	if (call->job && call->out.len - call->out_done >= OUT_HIGH)
		job_pause(call->job, true);
	respond(call);
}

static void job_exited(void *arg, int code)
{
	struct call *call = arg;

	call->job = NULL;
	proto_add_exit(&call->out, code);
	finish(call, PROTO_OK, "");
}

static void give_back_window(struct call *call)
{
	if (!call->held || (call->job && job_input_pending(call->job) >= JOB_INPUT_MAX))
		return;
	(void)nghttp2_session_consume_stream(call->server->session, call->id, call->held);
	call->held = 0;
	wake(call->server);
}

static void input_taken(void *arg)
{
	give_back_window(arg);
}

static const struct job_events job_events = {
	.output = job_output,
	.input_taken = input_taken,
	.exited = job_exited,
};

static void start_command(struct call *call, struct slice message)
{
	auto_proto_command command = PROTO_COMMAND_INIT;
	struct server *server = call->server;

	if (call->has_command || proto_parse_command(message, &command) < 0 || !command.name.len) {
		finish(call, PROTO_INVALID_ARGUMENT, "bad command");
		return;
	}
	call->has_command = true;
	call->job = job_start(server->loop, server->login, &command, &job_events, call);
}

static void exec_message(struct call *call, struct slice message)
{
	struct proto_request request;

	if (proto_parse_request(message, &request) < 0) {
		finish(call, PROTO_INVALID_ARGUMENT, "bad message");
		return;
	}
	if (request.kind == PROTO_REQUEST_COMMAND)
		start_command(call, request.message);
	else if (!call->has_command && request.kind != PROTO_REQUEST_NONE)
		finish(call, PROTO_INVALID_ARGUMENT, "the first message is not a command");
	else if (call->job && request.kind == PROTO_REQUEST_INPUT)
		job_input(call->job, request.input.ptr, request.input.len);
	else if (call->job && request.kind == PROTO_REQUEST_RESIZE)
		job_resize(call->job, request.size);
}

static void resolve_ip(struct call *call)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr address;

	if (!address_find(&address) || !inet_ntop(AF_INET, &address, text, sizeof(text))) {
		finish(call, PROTO_NOT_FOUND, "no address yet");
		return;
	}
	proto_add_address(&call->out, text);
	finish(call, PROTO_OK, "");
}

static void read_messages(struct call *call)
{
	struct slice message;
	int r = 0;

	while (!call->finished && (r = proto_reader_next(&call->in, &message)) > 0)
		if (call->method == METHOD_EXEC)
			exec_message(call, message);
	if (r < 0 && call->job)
		job_hangup(take(call->job));
	if (r < 0)
		finish(call, PROTO_RESOURCE_EXHAUSTED, "bad message");
}

static void request_ended(struct call *call)
{
	if (call->method == METHOD_UNKNOWN)
		finish(call, PROTO_UNIMPLEMENTED, "no such method");
	else if (call->method == METHOD_RESOLVE_IP)
		resolve_ip(call);
	else if (!call->has_command)
		finish(call, PROTO_INVALID_ARGUMENT, "no command");
	else if (call->job)
		job_input(call->job, NULL, 0);
}

/* ---- HTTP/2 ---- */

static struct call *call_of(nghttp2_session *session, int32_t id)
{
	return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct server *server = arg;
	struct call *call;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	call = xcalloc(1, sizeof(*call));
	call->server = server;
	call->id = frame->hd.stream_id;
	call->in = (struct proto_reader)PROTO_READER_INIT;
	call->out = (struct str)STR_INIT;
	call->next = server->calls;
	server->calls = call;
	return nghttp2_session_set_stream_user_data(session, call->id, call);
}

static bool equals(const uint8_t *bytes, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(bytes, text, len) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags unused_,
		     void *arg unused_)
{
	struct call *call = call_of(session, frame->hd.stream_id);

	if (!call || !equals(name, name_len, ":path"))
		return 0;
	if (equals(value, value_len, PROTO_PATH_EXEC))
		call->method = METHOD_EXEC;
	else if (equals(value, value_len, PROTO_PATH_RESOLVE_IP))
		call->method = METHOD_RESOLVE_IP;
	return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg unused_)
{
	struct call *call;

	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	call = call_of(session, frame->hd.stream_id);
	if (!call)
		return 0;
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		request_ended(call);
	else if (call->method == METHOD_UNKNOWN)
		finish(call, PROTO_UNIMPLEMENTED, "no such method");
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags unused_, int32_t id,
		   const uint8_t *bytes, size_t len, void *arg unused_)
{
	struct call *call = call_of(session, id);

	(void)nghttp2_session_consume_connection(session, len);
	if (!call)
		return 0;
	call->held += len;
	if (!call->finished && call->method == METHOD_EXEC) {
		proto_reader_feed(&call->in, bytes, len);
		read_messages(call);
	}
	give_back_window(call);
	return 0;
}

/* A response that ended before its request did: tell the client to stop (RFC 9113, 8.1). */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg unused_)
{
	int32_t id = frame->hd.stream_id;

	if (frame->hd.type == NGHTTP2_HEADERS && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    nghttp2_session_get_stream_remote_close(session, id) == 0)
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
	return 0;
}

static void call_free(struct call *call)
{
	if (call->job)
		job_hangup(call->job);
	proto_reader_release(&call->in);
	str_release(&call->out);
	free(call);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t why unused_, void *arg)
{
	struct server *server = arg;
	struct call **at = &server->calls;
	struct call *call = call_of(session, id);

	while (*at && *at != call)
		at = &(*at)->next;
	if (!call || !*at)
		return 0;
	*at = call->next;
	call_free(call);
	return 0;
}

static nghttp2_session *new_session(struct server *server)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_session *session;
	nghttp2_option *option;

	if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0)
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_option_set_no_auto_window_update(option, 1);
	if (nghttp2_session_server_new2(&session, callbacks, server, option) != 0)
		abort();
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return session;
}

struct server *server_new(struct loop *loop, struct login *login, void (*wake_owner)(void *arg),
			  void *arg)
{
	struct server *server = xcalloc(1, sizeof(*server));
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, CALLS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
	};

	server->loop = loop;
	server->login = login;
	server->wake = wake_owner;
	server->arg = arg;
	server->session = new_session(server);
	if (nghttp2_submit_settings(server->session, NGHTTP2_FLAG_NONE, settings,
				    array_size(settings)) != 0 ||
	    nghttp2_session_set_local_window_size(server->session, NGHTTP2_FLAG_NONE, 0,
						  CONNECTION_WINDOW) != 0)
		abort();
	return server;
}

void server_free(struct server *server)
{
	if (!server)
		return;
	while (server->calls) {
		struct call *call = server->calls;

		server->calls = call->next;
		call_free(call);
	}
	nghttp2_session_del(server->session);
	free(server);
}

int server_receive(struct server *server, const uint8_t *bytes, size_t len)
{
	ssize_t n;

	server->busy = true;
	n = nghttp2_session_mem_recv(server->session, bytes, len);
	server->busy = false;
	return n == (ssize_t)len ? 0 : -E_PROTOCOL;
}

ssize_t server_output(struct server *server, const uint8_t **bytes)
{
	ssize_t n;

	server->busy = true;
	n = nghttp2_session_mem_send(server->session, bytes);
	server->busy = false;
	return n < 0 ? -E_PROTOCOL : n;
}

bool server_is_done(struct server *server)
{
	return !nghttp2_session_want_read(server->session) &&
	       !nghttp2_session_want_write(server->session);
}
