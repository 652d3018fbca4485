/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/call.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#include "agent/proto.h"
#include "base/error.h"
#include "base/mem.h"

enum {
	STREAM_WINDOW = 256 * 1024,
	REQUEST_LOW = 64 * 1024,
	STATUS_MAX = 16, /* gRPC has 0-16 */
	WHY_MAX = 256, /* bytes of grpc-message that are kept */
};

struct call {
	nghttp2_session *session;
	int32_t id;
	struct str request;
	size_t request_done;
	bool request_ended;
	const uint8_t *pending; /* bytes from nghttp2 that are not sent yet */
	size_t pending_len;
	struct proto_reader in;
	call_message_fn message;
	void *arg;
	bool answered;
	bool done;
	bool refused; /* HTTP status other than 200 */
	int status; /* -1: none came */
	char why[WHY_MAX + 1];
	uint32_t reset; /* HTTP/2's code if the stream was reset */
	int failed; /* a callback's error */
	struct error *err;
};

static ssize_t read_request(nghttp2_session *session unused_, int32_t id unused_, uint8_t *buffer,
			    size_t len, uint32_t *flags, nghttp2_data_source *source,
			    void *arg unused_)
{
	struct call *call = source->ptr;
	size_t have = call->request.len - call->request_done;

	if (!have && !call->request_ended)
		return NGHTTP2_ERR_DEFERRED;
	if (len > have)
		len = have;
	memcpy(buffer, call->request.ptr + call->request_done, len);
	call->request_done += len;
	if (call->request_done == call->request.len) {
		str_reset(&call->request);
		call->request_done = 0;
		if (call->request_ended)
			*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	return (ssize_t)len;
}

static void take_messages(struct call *call)
{
	struct slice message;
	int r;

	while (!call->failed && (r = proto_reader_next(&call->in, &message)) != 0) {
		if (r < 0)
			call->failed = error_set(call->err, E_PROTOCOL,
						 "the agent sent a message that is too long");
		else
			call->failed = call->message(call->arg, message, call->err);
	}
}

static int on_data(nghttp2_session *session unused_, uint8_t flags unused_, int32_t id,
		   const uint8_t *bytes, size_t len, void *arg)
{
	struct call *call = arg;

	if (id != call->id || call->failed)
		return 0;
	proto_reader_feed(&call->in, bytes, len);
	take_messages(call);
	return 0;
}

static bool equals(const uint8_t *bytes, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(bytes, text, len) == 0;
}

/* The digits of a status; anything else is UNKNOWN, 2. */
static int parse_status(const uint8_t *digits, size_t len)
{
	int status = 0;

	for (size_t i = 0; i < len; i++) {
		if (digits[i] < '0' || digits[i] > '9' || status > STATUS_MAX)
			return 2;
		status = status * 10 + (digits[i] - '0');
	}
	return len && status <= STATUS_MAX ? status : 2;
}

static int on_header(nghttp2_session *session unused_, const nghttp2_frame *frame,
		     const uint8_t *name, size_t name_len, const uint8_t *value, size_t len,
		     uint8_t flags unused_, void *arg)
{
	struct call *call = arg;

	if (frame->hd.stream_id != call->id)
		return 0;
	if (equals(name, name_len, ":status")) {
		call->refused = !equals(value, len, "200");
	} else if (equals(name, name_len, "grpc-status")) {
		call->status = parse_status(value, len);
	} else if (equals(name, name_len, "grpc-message")) {
		len = len < WHY_MAX ? len : WHY_MAX;
		memcpy(call->why, value, len);
		call->why[len] = '\0';
	}
	return 0;
}

static int on_frame_recv(nghttp2_session *session unused_, const nghttp2_frame *frame unused_,
			 void *arg)
{
	struct call *call = arg;

	call->answered = true;
	return 0;
}

static int on_stream_close(nghttp2_session *session unused_, int32_t id, uint32_t why, void *arg)
{
	struct call *call = arg;

	if (id != call->id)
		return 0;
	call->done = true;
	call->reset = why;
	return 0;
}

static nghttp2_session *new_session(struct call *call)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_session *session;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		abort();
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	if (nghttp2_session_client_new(&session, callbacks, call) != 0)
		abort();
	nghttp2_session_callbacks_del(callbacks);
	return session;
}

#define FIELD(n, v)                                                                         \
	{                                                                                   \
		(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), \
			NGHTTP2_NV_FLAG_NONE                                                \
	}

static void submit(struct call *call, const char *path)
{
	const nghttp2_nv headers[] = {
		FIELD(":method", "POST"),      FIELD(":scheme", "http"),
		FIELD(":path", path),	       FIELD(":authority", "localhost"),
		FIELD("te", "trailers"),       FIELD("content-type", "application/grpc"),
		FIELD("user-agent", "linzer"),
	};
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
	};
	nghttp2_data_provider provider = { .source.ptr = call, .read_callback = read_request };

	if (nghttp2_submit_settings(call->session, NGHTTP2_FLAG_NONE, settings,
				    array_size(settings)) != 0 ||
	    nghttp2_session_set_local_window_size(call->session, NGHTTP2_FLAG_NONE, 0,
						  STREAM_WINDOW) != 0)
		abort();
	call->id = nghttp2_submit_request(call->session, NULL, headers, array_size(headers),
					  &provider, NULL);
	if (call->id < 0)
		abort();
}

struct call *call_new(const char *path, call_message_fn message, void *arg)
{
	struct call *call = xcalloc(1, sizeof(*call));

	call->request = (struct str)STR_INIT;
	call->in = (struct proto_reader)PROTO_READER_INIT;
	call->message = message;
	call->arg = arg;
	call->status = -1;
	call->session = new_session(call);
	submit(call, path);
	return call;
}

void call_free(struct call *call)
{
	nghttp2_session_del(call->session);
	str_release(&call->request);
	proto_reader_release(&call->in);
	free(call);
}

struct str *call_request(struct call *call)
{
	return &call->request;
}

void call_request_added(struct call *call)
{
	(void)nghttp2_session_resume_data(call->session, call->id);
}

void call_request_ends(struct call *call)
{
	call->request_ended = true;
	call_request_added(call);
}

bool call_wants_input(const struct call *call)
{
	return call->request.len - call->request_done < REQUEST_LOW;
}

struct slice call_output(struct call *call)
{
	if (!call->pending_len) {
		ssize_t n = nghttp2_session_mem_send(call->session, &call->pending);

		call->pending_len = n > 0 ? (size_t)n : 0;
	}
	return (struct slice){ call->pending, call->pending_len };
}

void call_sent(struct call *call, size_t n)
{
	call->pending += n;
	call->pending_len -= n;
}

int call_receive(struct call *call, const uint8_t *bytes, size_t len, struct error *err)
{
	ssize_t n;

	call->err = err;
	n = nghttp2_session_mem_recv(call->session, bytes, len);
	call->err = NULL;
	if (call->failed)
		return call->failed;
	if (n != (ssize_t)len)
		return error_set(err, E_PROTOCOL, "the agent does not speak HTTP/2: %s",
				 n < 0 ? nghttp2_strerror((int)n) : "bytes left over");
	return 0;
}

bool call_has_answered(const struct call *call)
{
	return call->answered;
}

bool call_is_done(const struct call *call)
{
	/* a broken session is over once nghttp2 has said so to the other side */
	return call->done || (!call->pending_len && !nghttp2_session_want_read(call->session) &&
			      !nghttp2_session_want_write(call->session));
}

int call_status(const struct call *call, struct error *err)
{
	if (call->status == 0)
		return 0;
	if (call->status > 0)
		return error_set(err, E_FAILED, "the agent refused: %s (status %d)", call->why,
				 call->status);
	if (!call->done)
		return error_set(err, E_PROTOCOL, "the agent does not keep to HTTP/2");
	if (call->refused)
		return error_set(err, E_FAILED, "the agent refused");
	return error_set(err, E_FAILED, "the agent gave up the call (HTTP/2 code %u)", call->reset);
}
