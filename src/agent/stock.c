/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stock.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/fs.h"
#include "base/mem.h"

/* RFC 9113, 3.4: a client's preface, with an empty SETTINGS and one that acknowledges theirs. */
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
			      "\0\0\0\4\0\0\0\0\0"
			      "\0\0\0\4\1\0\0\0\0";

enum { FRAME_HEAD = 9, FRAME_TYPE = 3, FRAME_FLAGS = 4, FRAME_STREAM = 5, SETTINGS = 4 };

struct stock {
	uv_loop_t *loop;
	struct dial_address address;
	void (*on_change)(void *owner, bool answers);
	void *owner;
	struct dial *dial; /* NULL: connected, or closing */
	int fd;
	uv_poll_t poll; /* of the connection */
	uv_timer_t limit;
	bool polling, timing; /* the handles are not closed yet */
	bool answers, over;
	uint8_t head[FRAME_HEAD];
	size_t head_len;
};

static void dial(struct stock *stock);

static void free_when_closed(struct stock *stock)
{
	if (stock->polling || stock->timing)
		return;
	free(stock);
}

static void timer_closed(uv_handle_t *handle)
{
	struct stock *stock = handle->data;

	stock->timing = false;
	free_when_closed(stock);
}

static void redial(uv_timer_t *timer)
{
	dial(timer->data);
}

static void poll_closed(uv_handle_t *handle)
{
	struct stock *stock = handle->data;

	stock->polling = false;
	cleanup_close_(&stock->fd);
	stock->fd = -1;
	if (stock->over)
		free_when_closed(stock);
	else
		(void)uv_timer_start(&stock->limit, redial, DIAL_RETRY_MS, 0);
}

/* This connection is of no use any more. */
static void hang_up(struct stock *stock)
{
	(void)uv_timer_stop(&stock->limit);
	uv_close((uv_handle_t *)&stock->poll, poll_closed);
	if (!stock->answers)
		return;
	stock->answers = false;
	stock->on_change(stock->owner, false);
}

static void silent(uv_timer_t *timer)
{
	hang_up(timer->data);
}

static bool begins_http2(const uint8_t *head)
{
	return head[FRAME_TYPE] == SETTINGS && head[FRAME_FLAGS] == 0 &&
	       memcmp(head + FRAME_STREAM, "\0\0\0\0", 4) == 0;
}

static void ready(uv_poll_t *poll, int status, int events)
{
	struct stock *stock = poll->data;
	ssize_t n;

	if (status < 0 || stock->answers) {
		hang_up(stock);
		return;
	}
	(void)events;
	n = read(stock->fd, stock->head + stock->head_len, FRAME_HEAD - stock->head_len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	stock->head_len += n > 0 ? (size_t)n : 0;
	if (n > 0 && stock->head_len < FRAME_HEAD)
		return;
	if (n <= 0 || !begins_http2(stock->head)) {
		hang_up(stock);
		return;
	}
	stock->answers = true;
	(void)uv_timer_stop(&stock->limit);
	(void)uv_poll_start(&stock->poll, UV_DISCONNECT, ready);
	stock->on_change(stock->owner, true);
}

static void connected(void *owner, int fd)
{
	struct stock *stock = owner;

	stock->dial = NULL;
	stock->fd = fd;
	stock->head_len = 0;
	stock->polling = true;
	/* fails only for a descriptor that cannot be polled, which a socket is not */
	(void)uv_poll_init(stock->loop, &stock->poll, fd);
	stock->poll.data = stock;
	if (send(fd, preface, sizeof(preface) - 1, MSG_NOSIGNAL) != sizeof(preface) - 1) {
		hang_up(stock);
		return;
	}
	(void)uv_poll_start(&stock->poll, UV_READABLE, ready);
	(void)uv_timer_start(&stock->limit, silent, STOCK_SILENT_MS, 0);
}

static void dial(struct stock *stock)
{
	stock->dial = dial_start(stock->loop, &stock->address, connected, stock);
}

struct stock *stock_watch(uv_loop_t *loop, const struct dial_address *address,
			  void (*on_change)(void *owner, bool answers), void *owner)
{
	struct stock *stock = xcalloc(1, sizeof(*stock));

	stock->loop = loop;
	stock->address = *address;
	stock->on_change = on_change;
	stock->owner = owner;
	stock->fd = -1;
	stock->timing = true;
	(void)uv_timer_init(loop, &stock->limit);
	stock->limit.data = stock;
	dial(stock);
	return stock;
}

void stock_release(struct stock *stock)
{
	if (!stock || stock->over)
		return;
	stock->over = true;
	dial_stop(take(stock->dial));
	if (stock->polling && !uv_is_closing((uv_handle_t *)&stock->poll))
		uv_close((uv_handle_t *)&stock->poll, poll_closed);
	uv_close((uv_handle_t *)&stock->limit, timer_closed);
}
