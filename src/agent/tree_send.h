/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_TREE_SEND_H
#define AGENT_TREE_SEND_H

/*
 * A file or a folder of this host as a stream of tar, piece by piece: contents, modes, times,
 * links and hard links, without owners. Sockets, pipes and devices are left out and counted.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct str;
struct tree_send;

/*
 * @path: what to send; a link is sent as a link, but with '/' or "/." at the end as the folder
 * that it leads to. @name: what a file is called in the stream; a folder is "." there, and what
 * is in it "./...". @itself: false leaves out ".", so that a folder over there keeps its own mode.
 * Until tree_send_free() the current directory is somewhere in there. Return: 0 and *out, or error.
 */
int tree_send_new(const char *path, const char *name, bool itself, struct tree_send **out,
		  struct error *err) must_use_;
void tree_send_free(struct tree_send *send);
/*
 * Append the next bytes, at most about 64 KiB. Return: 1; 0 that was all; or error: something
 * cannot be read, or has changed meanwhile in a way that the stream cannot say.
 */
int tree_send_next(struct tree_send *send, struct str *out, struct error *err) must_use_;
/* How many entries were left out. */
uint64_t tree_send_left_out(const struct tree_send *send);

#endif
