/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The guest's bytes into the host's link, and a host's into the guest's. The
 * first byte chooses the side and whether the session is up; the host's nonce
 * is put where the input has an ACK's place, as no input can guess it.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/frame.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct side;

struct owner {
	struct side *side;
	struct frame_stream *stream; /* NULL: not in use */
};

struct side {
	struct frame_link *link;
	bool consume;
	struct owner owners[FRAME_STREAMS_MAX];
};

static void ignore(void *arg unused_)
{
}

/* There are never more streams than owners. */
static void *opened(void *arg, struct frame_stream *stream)
{
	struct side *side = arg;
	struct owner *owner = side->owners;

	while (owner->stream)
		owner++;
	*owner = (struct owner){ side, stream };
	return owner;
}

static void data(void *arg, const uint8_t *bytes unused_, size_t len)
{
	struct owner *owner = arg;

	if (owner->side->consume)
		frame_consumed(owner->stream, len);
}

static void closed(void *arg, bool clean unused_)
{
	((struct owner *)arg)->stream = NULL;
}

static const struct frame_events events = { ignore, ignore, opened, data, ignore, ignore, closed };

/* Everything that waits from one link to the other. */
static void carry(struct frame_link *from, struct frame_link *to)
{
	struct slice out = frame_output(from);
	uint8_t *copy = xmalloc(out.len + 1);

	if (out.len)
		memcpy(copy, out.ptr, out.len);
	frame_sent(from, out.len);
	(void)frame_receive(to, copy, out.len);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct side host = { .consume = true }, guest = { .consume = true };
	struct side *target;
	struct owner *first;

	if (len < 2)
		return 0;
	host.link = frame_link_new(FRAME_HOST, &events, &host);
	guest.link = frame_link_new(FRAME_GUEST, &events, &guest);
	frame_start(guest.link);
	frame_start(host.link);
	for (unsigned i = 0; i < 4 && (bytes[0] & 1); i++) {
		carry(guest.link, host.link);
		carry(host.link, guest.link);
	}
	host.owners[0] = (struct owner){ &host, frame_open(host.link, &host.owners[0]) };
	if (host.owners[0].stream && (bytes[0] & 2))
		carry(host.link, guest.link);
	target = bytes[0] & 4 ? &guest : &host;
	target->consume = bytes[0] & 8;
	first = &target->owners[0];
	for (size_t at = 2, n; at < len; at += n) {
		n = len - at < (size_t)bytes[1] + 1 ? len - at : (size_t)bytes[1] + 1;
		if (frame_receive(target->link, bytes + at, n) < 0)
			frame_start(target->link);
		if (first->stream && frame_room(first->stream) >= n)
			frame_send(first->stream, bytes + at, n);
		frame_sent(target->link, frame_output(target->link).len / 2);
	}
	if (first->stream && (bytes[0] & 16))
		frame_end(first->stream);
	else if (first->stream)
		frame_reset(take(first->stream));
	frame_stop(target->link);
	frame_link_free(host.link);
	frame_link_free(guest.link);
	return 0;
}
