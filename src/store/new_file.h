/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_NEW_FILE_H
#define STORE_NEW_FILE_H

/*
 * A file of the user's that appears whole at its path, or not at all. Where the file system
 * can (O_TMPFILE), it has no name until then, so that even a killed program leaves nothing.
 */

#include "base/attr.h"

struct error;

struct new_file {
	int fd; /* open for writing */
	int dir; /* that it is to appear in */
	char *name; /* there */
	char *temporary; /* its name until then, NULL: none */
};
#define NEW_FILE_INIT               \
	{                           \
		.fd = -1, .dir = -1 \
	}

/* Make an empty file of mode 0644 (less the umask) that is to be at @path, following links. */
int new_file_open(const char *path, struct new_file *file, struct error *err) must_use_;
/* Make it durable and put it in its place in one step; what was there goes. */
int new_file_publish(struct new_file *file, struct error *err) must_use_;
/* What was not published goes. */
void new_file_release(struct new_file *file);
#define auto_new_file cleanup_(new_file_release) struct new_file

#endif
