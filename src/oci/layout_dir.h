/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OCI_LAYOUT_DIR_H
#define OCI_LAYOUT_DIR_H

/* The directories and files of an image layout: opened, made, swept. See layout.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct error;
struct str;

/* What the name of an unfinished blob begins with; its writer has it flocked. */
#define LAYOUT_TEMPORARY ".linzer-"

/*
 * Open the layout at @path and its blobs/sha256; for writing also make it, where the directory is
 * missing or empty, and remove what killed writers left. E_INVALID: it is none, or of another
 * version.
 */
int layout_open_dir(const char *path, bool write, int *dir, int *blobs,
		    struct error *err) must_use_;
/* Open a regular file in @dir, never through a link. Return: the descriptor, or error. */
int layout_open_file(int dir, const char *name, uint64_t *size, struct error *err) must_use_;
/* Append all of a file of at most @limit bytes (E_TOO_BIG) to @out. */
int layout_read_small(int dir, const char *name, size_t limit, struct str *out,
		      struct error *err) must_use_;

#endif
