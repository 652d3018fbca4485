/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_DIR_OPTION_H
#define RUN_DIR_OPTION_H

/*
 * The grammar of --dir [NAME:]PATH[:OPTIONS] (contract 7.5). OPTIONS is a comma list of ro and
 * tag=TAG: the last ':'-part is one if it holds at least one of them, else it belongs to the path.
 * PATH may be the URL of an archive.
 *
 * Folders of one tag are one file system of the guest. An unnamed one is its root, and then the
 * only one of its tag; named ones are directories in its root.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

struct error;
struct strings;

#define DIR_DEFAULT_TAG "com.apple.virtio-fs.automount"
enum { DIR_NAME_MAX = 255, DIR_TAG_MAX = 36, DIR_OPTIONS_MAX = 64, DIR_URL_MAX = 2048 };

struct dir_option {
	char *name; /* no '/' in it, not "." or ".."; NULL: unnamed */
	char *path; /* as given, not empty; "~" is not expanded */
	bool is_url; /* the path is one, http or https */
	char *tag; /* 1 to DIR_TAG_MAX letters, digits, and ".-_" but not first */
	bool read_only;
};
struct dir_options {
	struct dir_option *items;
	size_t len;
};
#define DIR_OPTIONS_INIT                \
	{                               \
		.items = NULL, .len = 0 \
	}

/*
 * Read the values of all --dir options. Any mistake in one, or of all together (a tag with an
 * unnamed folder and another one, two of one name, too many), is E_USAGE. On failure @options
 * is as it was: empty.
 */
int dir_options_parse(const struct strings *values, struct dir_options *options,
		      struct error *err) must_use_;
/* A copy of @text without the user name and password of a URL in it. Owned by the caller. */
char *dir_url_shown(const char *text) must_use_;
void dir_options_release(struct dir_options *options);
#define auto_dir_options cleanup_(dir_options_release) struct dir_options

#endif
