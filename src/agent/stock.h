/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_STOCK_H
#define AGENT_STOCK_H

/*
 * Whether a stock agent answers. It greets nobody by itself, so we keep a connection to it on which
 * HTTP/2 is begun and nothing is ever asked: it answers when its first frame is one that HTTP/2
 * begins with, and no longer when that connection ends.
 *
 * Of a guest's bytes 9 are looked at; the rest is left where it is.
 */

#include <stdbool.h>
#include <uv.h>

#include "agent/dial.h"

struct stock;

/* A guest that takes the connection and is silent so long is hung up on, and dialled again. */
enum { STOCK_SILENT_MS = 10000 };

/* Watch @address. @on_change runs inside the loop each time it is another; at first it does not. */
struct stock *stock_watch(uv_loop_t *loop, const struct dial_address *address,
			  void (*on_change)(void *owner, bool answers), void *owner);
/* Stop, without a word; its memory goes when the loop has run. NULL is allowed. */
void stock_release(struct stock *stock);

#endif
