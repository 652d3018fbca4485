/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_PASSAGE_H
#define AGENT_PASSAGE_H

/*
 * Between a client and a guest's socket: bytes both ways, unchanged.
 *
 * A reader that stalls, on either side, stalls the writer: at most PASSAGE_MAX bytes wait in each
 * direction. The client's end is passed on as such, and the guest is given PASSAGE_LINGER_MS for
 * the rest of its answer, and before that for each piece that it takes of what came before that
 * end; the guest's end is the end of all, once the client has what came before.
 */

#include <uv.h>

struct passage;

enum { PASSAGE_MAX = 128 * 1024, PASSAGE_LINGER_MS = 10000 };

/*
 * Start, with two connected non-blocking stream sockets that become the passage's. @on_end runs
 * inside the loop, once: both are closed and the passage is invalid.
 */
struct passage *passage_start(uv_loop_t *loop, int client, int guest, void (*on_end)(void *owner),
			      void *owner);
/* Close both, without a word; its memory goes when the loop has run. NULL is allowed. */
void passage_close(struct passage *passage);

#endif
