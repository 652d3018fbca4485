/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/loop.h"

#include <errno.h>
#include <unistd.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/mem.h"

struct loop {
	int epoll;
	bool quit;
	struct timer *timers; /* soonest first */
};

struct loop *loop_new(void)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));

	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0)
		abort();
	return loop;
}

void loop_free(struct loop *loop)
{
	(void)close(loop->epoll);
	free(loop);
}

void loop_watch(struct loop *loop, struct watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };
	int op = EPOLL_CTL_MOD;

	if (events == watch->events)
		return;
	if (!events)
		op = EPOLL_CTL_DEL;
	else if (!watch->events)
		op = EPOLL_CTL_ADD;
	/* only a descriptor that cannot be polled fails, and none of ours is */
	if (epoll_ctl(loop->epoll, op, watch->fd, &event) == 0 || op == EPOLL_CTL_DEL)
		watch->events = events;
}

void loop_timer_stop(struct loop *loop, struct timer *timer)
{
	struct timer **at = &loop->timers;

	if (!timer->active)
		return;
	while (*at != timer)
		at = &(*at)->next;
	*at = timer->next;
	timer->active = false;
}

void loop_timer(struct loop *loop, struct timer *timer, uint64_t ms)
{
	struct timer **at = &loop->timers;

	loop_timer_stop(loop, timer);
	timer->at = clock_ms() + ms;
	while (*at && (*at)->at <= timer->at)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
	timer->active = true;
}

static void fire_timers(struct loop *loop)
{
	uint64_t now = clock_ms();

	while (loop->timers && loop->timers->at <= now) {
		struct timer *timer = loop->timers;

		loop_timer_stop(loop, timer);
		timer->fire(timer);
	}
}

static int until_timer(const struct loop *loop)
{
	uint64_t now = clock_ms();

	if (!loop->timers)
		return -1;
	return loop->timers->at <= now ? 0 : (int)(loop->timers->at - now);
}

void loop_run(struct loop *loop)
{
	struct epoll_event event;

	while (!loop->quit) {
		int n = epoll_wait(loop->epoll, &event, 1, until_timer(loop));

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			struct watch *watch = event.data.ptr;

			watch->ready(watch, event.events);
		}
		fire_timers(loop);
	}
}

void loop_quit(struct loop *loop)
{
	loop->quit = true;
}
