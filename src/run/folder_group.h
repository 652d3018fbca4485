/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_FOLDER_GROUP_H
#define RUN_FOLDER_GROUP_H

/* The folders of one tag as they are found on the host, on their way into a jail. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"
#include "run/dir_option.h"
#include "run/folder_jail.h"

struct error;
struct identity;

struct folder_group {
	const char *tag;
	struct jailed_folder folders[DIR_OPTIONS_MAX];
	char *paths[DIR_OPTIONS_MAX], *targets[DIR_OPTIONS_MAX];
	size_t count;
	bool named;
	uid_t uid; /* whom they are served as; never root */
	gid_t gid;
};

/*
 * Find the folders of @tag, as the user that we are. Where that is root (@identity drops), they
 * are to be served as their owner, who must be the same for all, and as the engine's user if they
 * are root's. To be released, whatever comes back; @tag is borrowed.
 */
int folder_group_fill(struct folder_group *group, const char *tag, const struct dir_options *dirs,
		      const struct identity *identity, struct error *err) must_use_;
void folder_group_release(struct folder_group *group);

#endif
