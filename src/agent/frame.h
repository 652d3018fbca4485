/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_FRAME_H
#define AGENT_FRAME_H

/*
 * Many byte streams over one virtio-serial port: docs/agent-protocol.md.
 *
 * Sans-I/O: the owner feeds received bytes to frame_receive(), writes what
 * frame_output() shows, and is told by callbacks what happened. The same code
 * runs on the host and in the guest; only the host greets and opens streams.
 *
 * Memory is bounded: FRAME_BACKLOG_MAX and a little for output, and at most
 * FRAME_WINDOW received bytes per stream that the owner has not reported by
 * frame_consumed().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/str.h"

enum {
	FRAME_HEADER = 8,
	FRAME_PAYLOAD_MAX = 32768,
	FRAME_WINDOW = 128 * 1024, /* bytes in flight per stream and direction */
	FRAME_STREAMS_MAX = 256,
	FRAME_BACKLOG_MAX = 256 * 1024, /* no data is taken while more output waits */
	FRAME_NONCE = 16,
};

enum frame_role { FRAME_HOST, FRAME_GUEST };

struct frame_link;
struct frame_stream;

/*
 * What can happen. A callback may call any function of the link but
 * frame_link_free(). A stream handle is valid until its closed() or frame_reset().
 */
struct frame_events {
	/* The session is agreed on: streams may be opened. */
	void (*up)(void *arg);
	/* The session has ended; closed() was called for every stream before. */
	void (*down)(void *arg);
	/* The peer opened @stream (guest only). Return: its owner, for the other calls. */
	void *(*opened)(void *arg, struct frame_stream *stream);
	/* Bytes came in; report them by frame_consumed() once they are gone. */
	void (*data)(void *owner, const uint8_t *bytes, size_t len);
	/* The peer will send no more. */
	void (*ended)(void *owner);
	/* frame_room() may have grown. */
	void (*writable)(void *owner);
	/* The stream is gone: both ended (@clean), or reset, or the session fell. */
	void (*closed)(void *owner, bool clean);
};

struct frame_link *frame_link_new(enum frame_role role, const struct frame_events *events,
				  void *arg) must_use_;
/* Without callbacks. NULL is allowed. */
void frame_link_free(struct frame_link *link);

/*
 * The port was (re)opened: whatever was is over, greet. The guest calls it
 * only once the host's side is there. Streams are closed.
 */
void frame_start(struct frame_link *link);
/* The port closed: the session falls, nothing is sent until frame_start(). */
void frame_stop(struct frame_link *link);
bool frame_is_up(const struct frame_link *link);

/*
 * Bytes from the port. Return: 0, or -E_PROTOCOL: the peer broke the rules and the session
 * fell. The link scans for the next greeting then; the host sends
 * one when its owner calls frame_start() again.
 */
int frame_receive(struct frame_link *link, const uint8_t *bytes, size_t len);

/* Bytes to write to the port; frame_sent() says how many of them went. */
struct slice frame_output(const struct frame_link *link);
void frame_sent(struct frame_link *link, size_t n);

/* Open a stream (host). Return: NULL if the session is not up or all are in use. */
struct frame_stream *frame_open(struct frame_link *link, void *owner);
/* How many bytes frame_send() takes now. */
size_t frame_room(const struct frame_stream *stream);
/* @len: at most frame_room(). */
void frame_send(struct frame_stream *stream, const void *bytes, size_t len);
/* No more from us; the stream goes when the peer ends too (closed() may be called from here). */
void frame_end(struct frame_stream *stream);
/* Give the stream up at once, without closed(). The handle is invalid. */
void frame_reset(struct frame_stream *stream);
/* @n received bytes are dealt with: the peer may send as many more. */
void frame_consumed(struct frame_stream *stream, size_t n);

#endif
