/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_TREE_RECEIVE_H
#define AGENT_TREE_RECEIVE_H

/*
 * A guest's stream of tar as a file or a folder of this host. The stream is hostile: nothing is
 * made, changed or removed but under the one name that the caller gives, whatever paths and links
 * the stream has and whatever links lie there already; nothing becomes a device, a pipe or a
 * socket, and no file gets a set-user-ID, set-group-ID or sticky bit. Symbolic links are made as
 * they are, but nothing is ever reached through one. A stream may fill the file system, as any copy
 * may.
 *
 * All belongs to who calls. Existing files are replaced, existing folders kept and added to; a
 * folder never gives way to a file, nor a file to a folder. Zeroes become holes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct tree_receive;

enum tree_receive_kind {
	RECEIVE_FILE, /* one file or link, which becomes the name */
	RECEIVE_FOLDER, /* "." of the stream becomes the name, or is added to the folder there */
	RECEIVE_CONTENTS, /* the same, but a folder that is there keeps its mode and time */
};

/* @dir (borrowed) is the folder in which @name, which has no '/', is made. */
struct tree_receive *tree_receive_new(int dir, const char *name,
				      enum tree_receive_kind kind) must_use_;
/* A file that is not whole is removed. */
void tree_receive_free(struct tree_receive *receive);
/* The next bytes. Return: 0 or error. */
int tree_receive_feed(struct tree_receive *receive, const uint8_t *bytes, size_t len,
		      struct error *err) must_use_;
/* Nothing more comes. Return: 0; error where the stream was not whole or had nothing in it. */
int tree_receive_finish(struct tree_receive *receive, struct error *err) must_use_;
/* How many devices and the like were left out. */
uint64_t tree_receive_left_out(const struct tree_receive *receive);

#endif
