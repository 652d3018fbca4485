/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/dial.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

struct dial {
	uv_loop_t *loop;
	struct dial_address to;
	void (*on_connected)(void *owner, int fd);
	void *owner;
	uv_timer_t retry;
	uv_poll_t poll; /* of the attempt that is under way */
	int fd; /* -1: none is */
	bool polling; /* the poll handle is not closed yet */
	bool timing; /* nor the timer */
	bool over;
};

static void attempt(uv_timer_t *timer);

static void retry_later(struct dial *dial)
{
	(void)uv_timer_start(&dial->retry, attempt, DIAL_RETRY_MS, 0);
}

static void free_when_closed(struct dial *dial)
{
	if (dial->polling || dial->timing)
		return;
	cleanup_close_(&dial->fd);
	free(dial);
}

static void timer_closed(uv_handle_t *handle)
{
	struct dial *dial = handle->data;

	dial->timing = false;
	free_when_closed(dial);
}

/* The attempt is over: its descriptor may go now, and the next one may come. */
static void poll_closed(uv_handle_t *handle)
{
	struct dial *dial = handle->data;

	dial->polling = false;
	cleanup_close_(&dial->fd);
	dial->fd = -1;
	if (dial->over)
		free_when_closed(dial);
	else
		retry_later(dial);
}

void dial_stop(struct dial *dial)
{
	if (!dial || dial->over)
		return;
	dial->over = true;
	if (dial->polling && !uv_is_closing((uv_handle_t *)&dial->poll))
		uv_close((uv_handle_t *)&dial->poll, poll_closed);
	uv_close((uv_handle_t *)&dial->retry, timer_closed);
}

static void succeed(struct dial *dial)
{
	int fd = take_fd(&dial->fd);

	dial_stop(dial); /* before the owner watches the descriptor */
	dial->on_connected(dial->owner, fd);
}

static void attempt_ready(uv_poll_t *poll, int status, int events unused_)
{
	struct dial *dial = poll->data;
	int error = 0;
	socklen_t len = sizeof(error);

	if (status == 0 && getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && !error)
		succeed(dial);
	else
		uv_close((uv_handle_t *)&dial->poll, poll_closed);
}

/* Return: is it under way? */
static bool watch(struct dial *dial)
{
	if (uv_poll_init(dial->loop, &dial->poll, dial->fd) < 0)
		return false;
	dial->poll.data = dial;
	dial->polling = true;
	(void)uv_poll_start(&dial->poll, UV_WRITABLE, attempt_ready);
	return true;
}

static void attempt(uv_timer_t *timer)
{
	struct dial *dial = timer->data;
	const struct sockaddr *to = (const struct sockaddr *)&dial->to.name;

	dial->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (dial->fd >= 0 && connect(dial->fd, to, dial->to.len) == 0) {
		succeed(dial);
		return;
	}
	if (dial->fd >= 0 && errno == EINPROGRESS && watch(dial))
		return;
	cleanup_close_(&dial->fd);
	dial->fd = -1;
	retry_later(dial);
}

struct dial *dial_start(uv_loop_t *loop, const struct dial_address *to,
			void (*on_connected)(void *owner, int fd), void *owner)
{
	struct dial *dial = xcalloc(1, sizeof(*dial));

	dial->loop = loop;
	dial->to = *to;
	dial->on_connected = on_connected;
	dial->owner = owner;
	dial->fd = -1;
	dial->timing = true;
	(void)uv_timer_init(loop, &dial->retry);
	dial->retry.data = dial;
	/* not from here: the owner does not have us yet */
	(void)uv_timer_start(&dial->retry, attempt, 0, 0);
	return dial;
}
