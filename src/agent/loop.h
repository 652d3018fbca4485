/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_LOOP_H
#define AGENT_LOOP_H

/*
 * The guest agent's event loop: epoll, level-triggered, one event at a time,
 * so that a callback may remove or free any watch, also its own. libuv is
 * not here because the agent is static and small.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;

struct watch {
	int fd;
	void (*ready)(struct watch *watch, uint32_t events);
	uint32_t events; /* asked for; 0: not watched, not even for hang-ups */
};

struct timer {
	uint64_t at; /* clock_ms() */
	void (*fire)(struct timer *timer);
	struct timer *next;
	bool active;
};

struct loop *loop_new(void);
void loop_free(struct loop *loop);
/* Watch for @events (EPOLLIN, EPOLLOUT) from now on; 0 ends it, before the fd is closed. */
void loop_watch(struct loop *loop, struct watch *watch, uint32_t events);
/* (Re)start a one-shot timer. */
void loop_timer(struct loop *loop, struct timer *timer, uint64_t ms);
void loop_timer_stop(struct loop *loop, struct timer *timer);
/* Run until loop_quit(). */
void loop_run(struct loop *loop);
void loop_quit(struct loop *loop);

#endif
