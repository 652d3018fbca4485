/* SPDX-License-Identifier: Apache-2.0 */
#include "run/folder_group.h"

#include <errno.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "base/str.h"
#include "run/home_path.h"
#include "run/identity.h"

void folder_group_release(struct folder_group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		free(group->paths[i]);
		free(group->targets[i]);
	}
}

/* Of the kernel's file systems nothing is shared: they show the host's processes. */
static int check_place(const char *path, const struct stat *st, struct error *err)
{
	struct statfs fs;

	if (!S_ISDIR(st->st_mode))
		return error_set(err, E_FAILED, "'%s' is not a folder", path);
	if (strcmp(path, "/") == 0)
		return error_set(err, E_FAILED,
				 "'/' cannot be shared, but the folders in it can: name one");
	if (statfs(path, &fs) == 0 && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC))
		return error_set(err, E_FAILED, "'%s' belongs to the kernel and cannot be shared",
				 path);
	return 0;
}

static int find_folder(const struct dir_option *option, char **path, struct stat *st,
		       struct error *err)
{
	auto_free char *expanded = home_path_expand(option->path);
	char *real = realpath(expanded, NULL);

	if (!real && errno == ENOENT)
		return error_set(err, E_FAILED, "the folder '%s' does not exist", option->path);
	if (!real || stat(real, st) < 0) {
		int r = error_errno(err, "cannot share '%s'", option->path);

		free(real);
		return r;
	}
	*path = real;
	return check_place(real, st, err);
}

static gid_t group_of(const struct stat *st, const struct identity *identity)
{
	const struct passwd *user = getpwuid(st->st_uid);
	gid_t gid = user ? user->pw_gid : st->st_gid;

	return gid ? gid : identity->uid;
}

/* Whom the folder is served as: us, or its owner where we are root, but never root. */
static void choose_user(const struct stat *st, const struct identity *identity, uid_t *uid,
			gid_t *gid)
{
	*uid = geteuid();
	*gid = getegid();
	if (!identity->drop)
		return;
	*uid = st->st_uid ? st->st_uid : identity->uid;
	*gid = st->st_uid ? group_of(st, identity) : identity->uid;
}

/* Not an error, but a surprise to whoever works as root. */
static void tell_of_root(const char *path)
{
	struct error notice = ERROR_INIT; /* makes the path printable */

	(void)error_set(&notice, E_FAILED,
			"the folder '%s' is root's, as whom no folder is served: the guest may do "
			"there what anybody may; give it another owner to let it write",
			path);
	(void)fprintf(stderr, "%s\n", notice.text);
}

static int add_folder(struct folder_group *group, const struct dir_option *option,
		      const struct identity *identity, struct error *err)
{
	size_t i = group->count++;
	struct stat st = { 0 };
	uid_t uid;
	gid_t gid;
	int r = find_folder(option, &group->paths[i], &st, err);

	if (r < 0)
		return r;
	choose_user(&st, identity, &uid, &gid);
	if (i > 0 && (uid != group->uid || gid != group->gid))
		return error_set(err, E_FAILED,
				 "the folders '%s' and '%s' belong to different users: give each "
				 "a tag of its own (tag=TAG)",
				 group->paths[0], group->paths[i]);
	if (identity->drop && st.st_uid == 0 && !option->read_only)
		tell_of_root(option->path);
	group->uid = uid;
	group->gid = gid;
	group->named = option->name != NULL;
	group->targets[i] = str_format("%s%s%s", FOLDER_JAIL_ROOT, option->name ? "/" : "",
				       option->name ? option->name : "");
	group->folders[i] = (struct jailed_folder){ .path = group->paths[i],
						    .target = group->targets[i],
						    .dev = st.st_dev,
						    .ino = st.st_ino,
						    .read_only = option->read_only };
	return 0;
}

int folder_group_fill(struct folder_group *group, const char *tag, const struct dir_options *dirs,
		      const struct identity *identity, struct error *err)
{
	int r = 0;

	group->tag = tag;
	for (size_t i = 0; r == 0 && i < dirs->len; i++)
		if (strcmp(dirs->items[i].tag, tag) == 0)
			r = add_folder(group, &dirs->items[i], identity, err);
	return r;
}
