/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_COPY_PLACE_H
#define CMD_COPY_PLACE_H

/*
 * What the two arguments of cp mean: which of them is in a VM, and what becomes of what. The rules
 * are those of `docker cp`; a relative path in a VM starts at the user's home, as with scp.
 */

#include <stdbool.h>

#include "base/attr.h"

struct error;

struct copy_place {
	char *vm; /* NULL: here */
	char *path; /* in a VM it begins with '/' or "./" */
};
#define COPY_PLACE_INIT \
	{               \
		0       \
	}

/*
 * NAME:PATH is in a VM, unless the argument begins with '/' or '.', or has a '/' before the colon.
 * PATH may begin with "~/".
 */
void copy_place_parse(const char *argument, struct copy_place *place);
void copy_place_release(struct copy_place *place);
#define auto_copy_place cleanup_(copy_place_release) struct copy_place

enum copy_kind {
	COPY_NO_PARENT, /* not even its folder is there */
	COPY_NOTHING,
	COPY_FILE, /* or a link, or something else that is no folder */
	COPY_FOLDER,
};

/* What shall be made: @name in the existing folder @dir; "." is that folder itself. */
struct copy_target {
	char *dir, *name;
};
#define COPY_TARGET_INIT \
	{                \
		0        \
	}
void copy_target_release(struct copy_target *target);
#define auto_copy_target cleanup_(copy_target_release) struct copy_target

/* Does a folder's path stand for what is in it ("x/.", ".", "..", "/")? */
bool copy_is_contents(const char *path);
/* The folder that @path is in, and what it is called there; owned by the caller. */
char *copy_parent(const char *path) must_use_;
char *copy_name(const char *path) must_use_;
/*
 * Where @from, a folder or not, goes when it is copied to @to, where @kind is now. Return: 0, or
 * E_FAILED where it cannot.
 */
int copy_target_find(const char *from, bool folder, const char *to, enum copy_kind kind,
		     struct copy_target *target, struct error *err) must_use_;

#endif
