/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * A frame is {type u8, 0 u8, length u16, stream u32} and length bytes, big
 * endian. A link is in one of two states.
 *
 * Scanning: nothing that comes in is believed, because it may be what an
 * earlier session left in the port (up to 100 MB were seen), shaped by
 * anybody. Only greetings are looked for, at any offset. The host sends
 * HELLO(h), the guest answers ACK(h, g), the host CONFIRM(g): h and g are
 * fresh random numbers, so bytes that are older than they are cannot hold
 * them. A fake HELLO or WAKE in old bytes costs one answer and no more.
 *
 * In session: frames are read in order. A host that comes back while the
 * guest is in the middle of a frame must not have its HELLO swallowed as that
 * frame's payload, so whoever starts first sends a flush: as many zeros as
 * the longest frame has bytes. At a frame's start a zero is padding.
 *
 * A guest that starts anew sends WAKE for the host to greet. An answer to a
 * greeting replaces the output of a session that is over, but never a
 * flush: it waits until that is out.
 */

#include "agent/frame.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"
#include "base/mem.h"

enum frame_type {
	FRAME_PAD,
	FRAME_HELLO,
	FRAME_ACK,
	FRAME_CONFIRM,
	FRAME_WAKE,
	FRAME_OPEN,
	FRAME_DATA,
	FRAME_CREDIT,
	FRAME_END,
	FRAME_RESET,
};

enum {
	MAGIC = 8,
	FLUSH = FRAME_HEADER + FRAME_PAYLOAD_MAX,
	GREETING_MAX = FRAME_HEADER + MAGIC + 2 * FRAME_NONCE,
};

static const uint8_t magic[MAGIC] = { 'L', 'i', 'n', 'z', 'e', 'r', '\r', 1 };

struct frame_stream {
	struct frame_link *link;
	uint32_t id; /* 0: the slot is free */
	void *owner;
	uint32_t credit; /* bytes we may send */
	uint32_t granted; /* bytes the peer may send */
	uint32_t consumed; /* ... and may be told of */
	bool ended_here, ended_there;
};

struct frame_link {
	enum frame_role role;
	const struct frame_events *events;
	void *arg;
	bool started;
	bool up;
	bool greet_later; /* when the output is empty */
	uint8_t host_nonce[FRAME_NONCE];
	uint8_t guest_nonce[FRAME_NONCE];
	uint32_t last_id; /* highest stream opened in this session */
	struct str in; /* a part of a frame, or the scan's window */
	struct str out;
	size_t out_done; /* of out: written already */
	size_t turn; /* whose turn it is to fill the output first */
	struct frame_stream streams[FRAME_STREAMS_MAX];
};

static void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)(v >> 16));
	put_u16(p + 2, (uint16_t)v);
}

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)get_u16(p) << 16 | get_u16(p + 2);
}

static void add_header(struct frame_link *link, enum frame_type type, uint32_t id, size_t len)
{
	uint8_t header[FRAME_HEADER] = { (uint8_t)type };

	put_u16(header + 2, (uint16_t)len);
	put_u32(header + 4, id);
	str_add(&link->out, header, sizeof(header));
}

static size_t backlog(const struct frame_link *link)
{
	return link->out.len - link->out_done;
}

static void drop_output(struct frame_link *link)
{
	str_reset(&link->out);
	link->out_done = 0;
}

struct frame_link *frame_link_new(enum frame_role role, const struct frame_events *events,
				  void *arg)
{
	struct frame_link *link = xcalloc(1, sizeof(*link));

	link->role = role;
	link->events = events;
	link->arg = arg;
	link->in = link->out = (struct str)STR_INIT;
	return link;
}

void frame_link_free(struct frame_link *link)
{
	if (!link)
		return;
	str_release(&link->in);
	str_release(&link->out);
	free(link);
}

bool frame_is_up(const struct frame_link *link)
{
	return link->up;
}

/* ---- greetings ---- */

static void new_nonce(uint8_t nonce[FRAME_NONCE])
{
	if (getrandom(nonce, FRAME_NONCE, 0) != FRAME_NONCE)
		abort();
}

static void add_greeting(struct frame_link *link, enum frame_type type, const uint8_t *first,
			 const uint8_t *second)
{
	size_t nonces = (size_t)(first != NULL) + (size_t)(second != NULL);

	add_header(link, type, 0, MAGIC + nonces * FRAME_NONCE);
	str_add(&link->out, magic, MAGIC);
	if (first)
		str_add(&link->out, first, FRAME_NONCE);
	if (second)
		str_add(&link->out, second, FRAME_NONCE);
}

/* The host's HELLO, or the guest's answer to one. */
static void greet(struct frame_link *link)
{
	if (backlog(link)) {
		link->greet_later = true;
		return;
	}
	link->greet_later = false;
	if (link->role == FRAME_HOST) {
		new_nonce(link->host_nonce);
		add_greeting(link, FRAME_HELLO, link->host_nonce, NULL);
	} else {
		new_nonce(link->guest_nonce);
		add_greeting(link, FRAME_ACK, link->host_nonce, link->guest_nonce);
	}
}

static void close_stream(struct frame_stream *stream, bool clean)
{
	stream->id = 0;
	stream->link->events->closed(stream->owner, clean);
}

/* The session falls: from now on, scan. */
static void fall(struct frame_link *link)
{
	bool was_up = link->up;

	link->up = false;
	link->last_id = 0;
	str_reset(&link->in);
	link->greet_later = false;
	for (size_t i = 0; i < FRAME_STREAMS_MAX; i++)
		if (link->streams[i].id)
			close_stream(&link->streams[i], false);
	drop_output(link);
	if (was_up)
		link->events->down(link->arg);
}

static void rise(struct frame_link *link)
{
	link->up = true;
	str_reset(&link->in);
	link->events->up(link->arg);
}

void frame_stop(struct frame_link *link)
{
	fall(link);
	link->started = false;
}

void frame_start(struct frame_link *link)
{
	static const uint8_t zeros[FLUSH];

	fall(link);
	link->started = true;
	str_add(&link->out, zeros, FLUSH);
	if (link->role == FRAME_GUEST) {
		add_greeting(link, FRAME_WAKE, NULL, NULL);
	} else {
		new_nonce(link->host_nonce);
		add_greeting(link, FRAME_HELLO, link->host_nonce, NULL);
	}
}

static size_t greeting_size(const struct frame_link *link, uint8_t type)
{
	bool host = link->role == FRAME_HOST;

	switch (type) {
	case FRAME_HELLO:
	case FRAME_CONFIRM:
		return host ? 0 : MAGIC + FRAME_NONCE;
	case FRAME_ACK:
		return host ? MAGIC + 2 * FRAME_NONCE : 0;
	case FRAME_WAKE:
		return host ? MAGIC : 0;
	default:
		return 0;
	}
}

/* The header and magic of a greeting for this side? Return: its whole size, 0 if not. */
static size_t is_greeting(const struct frame_link *link, const uint8_t *p)
{
	size_t size = greeting_size(link, p[0]);

	if (!size || p[1] != 0 || get_u16(p + 2) != size || get_u32(p + 4) != 0 ||
	    memcmp(p + FRAME_HEADER, magic, MAGIC) != 0)
		return 0;
	return FRAME_HEADER + size;
}

/* A whole greeting. Return: does it bring the session up? */
static bool hear(struct frame_link *link, const uint8_t *p)
{
	const uint8_t *nonces = p + FRAME_HEADER + MAGIC;

	switch (p[0]) {
	case FRAME_HELLO:
		memcpy(link->host_nonce, nonces, FRAME_NONCE);
		greet(link);
		return false;
	case FRAME_CONFIRM:
		if (memcmp(nonces, link->guest_nonce, FRAME_NONCE) != 0)
			return false;
		new_nonce(link->guest_nonce);
		return true;
	case FRAME_ACK:
		if (memcmp(nonces, link->host_nonce, FRAME_NONCE) != 0)
			return false;
		drop_output(link);
		link->greet_later = false;
		add_greeting(link, FRAME_CONFIRM, nonces + FRAME_NONCE, NULL);
		return true;
	default: /* FRAME_WAKE */
		greet(link);
		return false;
	}
}

/*
 * Look for greetings at any offset of link->in, keeping a tail that may be
 * the beginning of one. Return: true with *used when the session came up.
 */
static bool scan_window(struct frame_link *link, size_t *used)
{
	const uint8_t *p = (const uint8_t *)link->in.ptr;
	size_t len = link->in.len, at = 0;

	while (at + FRAME_HEADER + MAGIC <= len) {
		const uint8_t *found =
			memmem(p + at + FRAME_HEADER, len - at - FRAME_HEADER, magic, MAGIC);
		size_t start = found ? (size_t)(found - p) - FRAME_HEADER
				     : len - (FRAME_HEADER + MAGIC - 1);
		size_t size = found ? is_greeting(link, p + start) : 0;

		at = start;
		if (!found || (size && start + size > len))
			break;
		if (size && hear(link, p + start)) {
			*used = start + size;
			return true;
		}
		at++; /* by no more: an old, cut off greeting must not hide the one behind it */
	}
	str_consume(&link->in, at);
	return false;
}

/* Return: how many of @bytes were read; less than @len only if the session came up. */
static size_t scan(struct frame_link *link, const uint8_t *bytes, size_t len)
{
	size_t before = link->in.len, used;

	str_add(&link->in, bytes, len);
	if (!scan_window(link, &used))
		return len;
	assert(used > before); /* a whole greeting is heard as soon as it is there */
	rise(link);
	return used - before;
}

/* ---- in session ---- */

static struct frame_stream *find(struct frame_link *link, uint32_t id)
{
	for (size_t i = 0; i < FRAME_STREAMS_MAX; i++)
		if (link->streams[i].id == id)
			return &link->streams[i];
	return NULL;
}

static struct frame_stream *new_stream(struct frame_link *link, uint32_t id)
{
	struct frame_stream *stream = find(link, 0);

	link->last_id = id;
	if (stream)
		*stream = (struct frame_stream){
			.link = link, .id = id, .credit = FRAME_WINDOW, .granted = FRAME_WINDOW
		};
	return stream;
}

static bool receive_open(struct frame_link *link, uint32_t id)
{
	struct frame_stream *stream;

	if (link->role == FRAME_HOST || id <= link->last_id)
		return false;
	stream = new_stream(link, id);
	if (stream)
		stream->owner = link->events->opened(link->arg, stream);
	else
		add_header(link, FRAME_RESET, id, 0);
	return true;
}

static bool receive_data(struct frame_stream *stream, const uint8_t *payload, size_t len)
{
	if (stream->ended_there || len > stream->granted || len == 0)
		return false;
	stream->granted -= (uint32_t)len;
	stream->link->events->data(stream->owner, payload, len);
	return true;
}

static bool receive_credit(struct frame_stream *stream, uint32_t more)
{
	if (more > FRAME_WINDOW - stream->credit)
		return false;
	stream->credit += more;
	stream->link->events->writable(stream->owner);
	return true;
}

static bool receive_end(struct frame_stream *stream)
{
	if (stream->ended_there)
		return false;
	stream->ended_there = true;
	if (stream->ended_here)
		close_stream(stream, true);
	else
		stream->link->events->ended(stream->owner);
	return true;
}

/* A greeting where the session is up: the peer began anew. */
static bool receive_greeting(struct frame_link *link, const uint8_t *frame)
{
	if (!is_greeting(link, frame))
		return false;
	if (frame[0] == FRAME_HELLO || frame[0] == FRAME_WAKE) {
		fall(link);
		(void)hear(link, frame);
		return true;
	}
	return false;
}

static bool has_length(uint8_t type, size_t len)
{
	switch (type) {
	case FRAME_OPEN:
	case FRAME_END:
	case FRAME_RESET:
		return len == 0;
	case FRAME_CREDIT:
		return len == 4;
	case FRAME_DATA:
		return len <= FRAME_PAYLOAD_MAX;
	default:
		return len >= MAGIC && len <= GREETING_MAX - FRAME_HEADER;
	}
}

/* One whole frame of a right length. Return: is it as the rules have it? */
static bool receive_frame(struct frame_link *link, const uint8_t *frame, size_t len)
{
	const uint8_t *payload = frame + FRAME_HEADER;
	uint32_t id = get_u32(frame + 4);
	struct frame_stream *stream;

	if (frame[0] < FRAME_OPEN)
		return receive_greeting(link, frame);
	if (frame[0] == FRAME_OPEN)
		return receive_open(link, id);
	if (id == 0 || id > link->last_id)
		return false;
	stream = find(link, id);
	if (!stream)
		return true; /* late: we have reset it meanwhile */
	switch (frame[0]) {
	case FRAME_DATA:
		return receive_data(stream, payload, len);
	case FRAME_CREDIT:
		return receive_credit(stream, get_u32(payload));
	case FRAME_END:
		return receive_end(stream);
	default:
		close_stream(stream, false);
		return true;
	}
}

/* Return: the size of the frame that begins at @p, 0 if it cannot be one. */
static size_t frame_size(const uint8_t *p)
{
	size_t len = get_u16(p + 2);

	if (p[0] > FRAME_RESET || p[1] != 0 || !has_length(p[0], len))
		return 0;
	return FRAME_HEADER + len;
}

/*
 * Read the first frame of @p. Return: bytes used, 0 if it is not all there
 * yet, -1 if the rules are broken.
 */
static ssize_t read_frame(struct frame_link *link, const uint8_t *p, size_t len)
{
	size_t size, pad = 0;

	while (pad < len && p[pad] == FRAME_PAD)
		pad++;
	if (pad)
		return (ssize_t)pad;
	if (len < FRAME_HEADER)
		return 0;
	size = frame_size(p);
	if (!size)
		return -1;
	if (len < size)
		return 0;
	return receive_frame(link, p, size - FRAME_HEADER) ? (ssize_t)size : -1;
}

/* How many bytes the frame begun in link->in lacks (of what is known of it). */
static size_t lacks(const struct frame_link *link)
{
	const uint8_t *p = (const uint8_t *)link->in.ptr;

	if (link->in.len < FRAME_HEADER)
		return FRAME_HEADER - link->in.len;
	return frame_size(p) - link->in.len;
}

/* Complete the frame in link->in from @bytes. Return: as read_frame(), of @bytes. */
static ssize_t read_rest(struct frame_link *link, const uint8_t *bytes, size_t len)
{
	size_t take = lacks(link) < len ? lacks(link) : len;
	struct str frame;
	ssize_t n;

	str_add(&link->in, bytes, take);
	frame = link->in;
	link->in = (struct str)STR_INIT; /* a callback may reset or fill it */
	n = read_frame(link, (const uint8_t *)frame.ptr, frame.len);
	if (n == 0) {
		link->in = frame;
		return (ssize_t)take;
	}
	str_release(&frame);
	return n < 0 ? -1 : (ssize_t)take;
}

static ssize_t read_some(struct frame_link *link, const uint8_t *bytes, size_t len)
{
	ssize_t n;

	if (!link->up)
		return (ssize_t)scan(link, bytes, len);
	if (link->in.len)
		return read_rest(link, bytes, len);
	n = read_frame(link, bytes, len);
	if (n != 0)
		return n;
	str_add(&link->in, bytes, len);
	return (ssize_t)len;
}

int frame_receive(struct frame_link *link, const uint8_t *bytes, size_t len)
{
	while (len && link->started) {
		size_t part = len < 2 * FLUSH ? len : 2 * FLUSH; /* bounds the scan's window */
		ssize_t n = read_some(link, bytes, part);

		if (n < 0) {
			fall(link);
			return -E_PROTOCOL;
		}
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ---- output ---- */

struct slice frame_output(const struct frame_link *link)
{
	return (struct slice){ (const uint8_t *)link->out.ptr + link->out_done, backlog(link) };
}

static void grant(struct frame_stream *stream)
{
	uint8_t more[4];

	if (stream->consumed < FRAME_WINDOW / 2 || stream->ended_there ||
	    backlog(stream->link) > FRAME_BACKLOG_MAX)
		return;
	add_header(stream->link, FRAME_CREDIT, stream->id, sizeof(more));
	put_u32(more, stream->consumed);
	str_add(&stream->link->out, more, sizeof(more));
	stream->granted += stream->consumed;
	stream->consumed = 0;
}

static void offer(struct frame_stream *stream)
{
	if (!stream->id)
		return;
	grant(stream);
	stream->link->events->writable(stream->owner);
}

void frame_sent(struct frame_link *link, size_t n)
{
	bool was_full = backlog(link) >= FRAME_BACKLOG_MAX;

	assert(n <= backlog(link));
	link->out_done += n;
	if (link->out_done == link->out.len)
		drop_output(link);
	else if (link->out_done >= FRAME_BACKLOG_MAX) {
		str_consume(&link->out, link->out_done);
		link->out_done = 0;
	}
	if (link->greet_later && !backlog(link))
		greet(link);
	if (!was_full || backlog(link) >= FRAME_BACKLOG_MAX)
		return;
	link->turn++;
	for (size_t i = 0; i < FRAME_STREAMS_MAX; i++)
		offer(&link->streams[(link->turn + i) % FRAME_STREAMS_MAX]);
}

struct frame_stream *frame_open(struct frame_link *link, void *owner)
{
	struct frame_stream *stream;

	if (!link->up || link->role != FRAME_HOST || link->last_id == UINT32_MAX)
		return NULL;
	stream = find(link, 0);
	if (!stream)
		return NULL;
	stream = new_stream(link, link->last_id + 1);
	stream->owner = owner;
	add_header(link, FRAME_OPEN, stream->id, 0);
	return stream;
}

size_t frame_room(const struct frame_stream *stream)
{
	size_t waiting = backlog(stream->link);

	if (stream->ended_here || waiting >= FRAME_BACKLOG_MAX)
		return 0;
	return stream->credit;
}

void frame_send(struct frame_stream *stream, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	assert(len <= stream->credit && !stream->ended_here);
	stream->credit -= (uint32_t)len;
	while (len) {
		size_t part = len < FRAME_PAYLOAD_MAX ? len : FRAME_PAYLOAD_MAX;

		add_header(stream->link, FRAME_DATA, stream->id, part);
		str_add(&stream->link->out, p, part);
		p += part;
		len -= part;
	}
}

void frame_end(struct frame_stream *stream)
{
	if (stream->ended_here)
		return;
	stream->ended_here = true;
	add_header(stream->link, FRAME_END, stream->id, 0);
	if (stream->ended_there)
		close_stream(stream, true);
}

void frame_reset(struct frame_stream *stream)
{
	add_header(stream->link, FRAME_RESET, stream->id, 0);
	stream->id = 0;
}

void frame_consumed(struct frame_stream *stream, size_t n)
{
	assert(n <= FRAME_WINDOW - stream->granted - stream->consumed);
	stream->consumed += (uint32_t)n;
	grant(stream);
}
