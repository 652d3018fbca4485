/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_FOLDER_JAIL_H
#define RUN_FOLDER_JAIL_H

/*
 * What virtiofsd is locked into before it runs (docs/security.md): a user namespace with one user,
 * a mount namespace in which the folders of one tag are at FOLDER_JAIL_ROOT, and a filter of system
 * calls. All of it is done by the child that becomes virtiofsd.
 */

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

struct error;

/* Present on every host, and of no use to virtiofsd. */
#define FOLDER_JAIL_ROOT "/sys"
enum { FOLDER_JAIL_FILTER_MAX = 512 };

struct jailed_folder {
	const char *path; /* absolute, without links */
	const char *target; /* FOLDER_JAIL_ROOT, or a path in it */
	dev_t dev; /* it must still be this directory */
	ino_t ino;
	bool read_only;
};

struct folder_jail {
	const struct jailed_folder *folders; /* borrowed */
	size_t count;
	bool named; /* the targets are directories to make in FOLDER_JAIL_ROOT */
	bool drop; /* we are root: become uid and gid first */
	uid_t uid;
	gid_t gid;
	char uid_map[48], gid_map[48];
	const char **step; /* in memory that parent and child share: what the child is doing */
	struct sock_fprog filter;
	struct sock_filter code[FOLDER_JAIL_FILTER_MAX];
};

/*
 * Prepare a jail of user @uid and group @gid (never root's), which have the number @inside in its
 * namespace: its maps and its filter; the other members are the caller's to fill. The jail must not
 * be moved afterwards.
 */
int folder_jail_init(struct folder_jail *jail, uid_t uid, gid_t gid, uid_t inside,
		     struct error *err) must_use_;
/* Of process_spec.in_child: @arg is the jail. Return: 0, or -1 with errno. */
int folder_jail_enter(void *arg) must_use_;

#endif
