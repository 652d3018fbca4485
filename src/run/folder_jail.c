/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * The user namespace has one user: the invoking user (or, where
 * we are root, the folder's owner) outside. virtiofsd would become the guest's user for each file
 * that it makes, which only works for users that the namespace has: the filter answers "done" to
 * such a change, and to chown, without doing it. So whoever writes in the guest, the host's files
 * are the one user's.
 *
 * No device file can be made that works: the mount is nodev, mknod of one needs a privilege of the
 * host's, and the filter refuses what is left of it (the "whiteouts" 0:0 that anybody may make). No
 * set-user-ID file of the user can appear, which another user of the host could run: the mount is
 * nosuid, but only in here, so the filter refuses to set these bits.
 *
 * The folder is mounted by the new calls: a detached copy of the mount, whose flags are set before
 * it is put in place, with all that is mounted beneath it. Where we are root that is done as root,
 * since the owner may have no way to the folder; that the second namespace then has another owner
 * locks the flags.
 *
 * Only system calls are made after the fork.
 */

#include "run/folder_jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "machine/call_filter.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* of every architecture */
#endif

/* Changes of user that virtiofsd makes for the guest's users: all are the one user. */
static const char *const answered_calls[] = {
	"setresuid", "setresgid", "setgroups", "chown", "fchown", "lchown", "fchownat",
};

/* A call whose argument @argument is a file's mode. */
struct mode_call {
	const char *name;
	unsigned argument;
	int flags; /* the argument with O_CREAT, without which there is no mode; -1: none */
};
static const struct mode_call mode_calls[] = {
	{ "chmod", 1, -1 },   { "fchmod", 1, -1 }, { "fchmodat", 2, -1 }, { "mkdir", 1, -1 },
	{ "mkdirat", 2, -1 }, { "mknod", 1, -1 },  { "mknodat", 2, -1 },  { "creat", 1, -1 },
	{ "open", 2, 1 },     { "openat", 3, 2 },
};

/* openat2() and io_uring carry modes where the filter does not see them. */
static const char *const refused_calls[] = { "openat2", "io_uring_setup" };

/* Refuse the call with all bits of @bits in its mode (under @mask). */
static int refuse_mode(scmp_filter_ctx filter, const struct mode_call *call, uint64_t mask,
		       uint64_t bits)
{
	const uint32_t refuse = SCMP_ACT_ERRNO(EPERM);
	struct scmp_arg_cmp arguments[2] = { SCMP_CMP(call->argument, SCMP_CMP_MASKED_EQ, mask,
						      bits) };
	int r;

	if (call->flags < 0)
		return call_filter_rule(filter, refuse, call->name, 1, arguments);
	arguments[1] = SCMP_CMP((unsigned)call->flags, SCMP_CMP_MASKED_EQ, O_CREAT, O_CREAT);
	r = call_filter_rule(filter, refuse, call->name, 2, arguments);
	/* what has no name yet can be given one */
	arguments[1] = SCMP_CMP((unsigned)call->flags, SCMP_CMP_MASKED_EQ, O_TMPFILE, O_TMPFILE);
	return r < 0 ? r : call_filter_rule(filter, refuse, call->name, 2, arguments);
}

static int refuse_modes(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < array_size(mode_calls); i++) {
		r = refuse_mode(filter, &mode_calls[i], S_ISUID, S_ISUID);
		if (r == 0)
			r = refuse_mode(filter, &mode_calls[i], S_ISGID, S_ISGID);
	}
	return r;
}

static int refuse_devices(scmp_filter_ctx filter)
{
	const struct mode_call nodes[] = { { "mknod", 1, -1 }, { "mknodat", 2, -1 } };
	const struct scmp_arg_cmp whiteout =
		SCMP_A4(SCMP_CMP_MASKED_EQ, RENAME_WHITEOUT, RENAME_WHITEOUT);
	int r = 0;

	for (size_t i = 0; r == 0 && i < array_size(nodes); i++) {
		r = refuse_mode(filter, &nodes[i], S_IFMT, S_IFCHR);
		if (r == 0)
			r = refuse_mode(filter, &nodes[i], S_IFMT, S_IFBLK);
	}
	return r < 0 ? r
		     : call_filter_rule(filter, SCMP_ACT_ERRNO(EINVAL), "renameat2", 1, &whiteout);
}

static int add_rules(scmp_filter_ctx filter)
{
	int r = refuse_modes(filter);

	if (r == 0)
		r = refuse_devices(filter);
	for (size_t i = 0; r == 0 && i < array_size(answered_calls); i++)
		r = call_filter_rule(filter, SCMP_ACT_ERRNO(0), answered_calls[i], 0, NULL);
	for (size_t i = 0; r == 0 && i < array_size(refused_calls); i++)
		r = call_filter_rule(filter, SCMP_ACT_ERRNO(ENOSYS), refused_calls[i], 0, NULL);
	/* newer than the library; whoever finds it missing falls back to fchmodat() */
	if (r == 0)
		r = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(ENOSYS), SYS_fchmodat2, 0, NULL);
	return r;
}

int folder_jail_init(struct folder_jail *jail, uid_t uid, gid_t gid, uid_t inside,
		     struct error *err)
{
	*jail = (struct folder_jail){ .uid = uid, .gid = gid };
	(void)snprintf(jail->uid_map, sizeof(jail->uid_map), "%u %u 1", (unsigned)inside,
		       (unsigned)uid);
	(void)snprintf(jail->gid_map, sizeof(jail->gid_map), "%u %u 1", (unsigned)inside,
		       (unsigned)gid);
	return call_filter_make(SCMP_ACT_ALLOW, add_rules, jail->code, array_size(jail->code),
				&jail->filter, err);
}

/* From here on, the child. */

static int write_text(const char *path, const char *text)
{
	auto_fd fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

static int become_owner(const struct folder_jail *jail)
{
	if (setgroups(0, NULL) < 0 || setgid(jail->gid) < 0 || setuid(jail->uid) < 0)
		return -1;
	/* the change of user made /proc/self root's */
	return prctl(PR_SET_DUMPABLE, 1UL, 0UL, 0UL, 0UL);
}

static int enter_user_namespace(const struct folder_jail *jail)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
	    write_text("/proc/self/setgroups", "deny") < 0 ||
	    write_text("/proc/self/gid_map", jail->gid_map) < 0)
		return -1;
	return write_text("/proc/self/uid_map", jail->uid_map);
}

/* Return: a mount of the folder, in no place yet; -1: errno. */
static int detached_mount(const struct jailed_folder *folder)
{
	struct mount_attr flags = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
	auto_fd fd =
		open_tree(AT_FDCWD, folder->path,
			  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	if (st.st_dev != folder->dev || st.st_ino != folder->ino) {
		errno = ESTALE;
		return -1;
	}
	if (folder->read_only)
		flags.attr_set |= MOUNT_ATTR_RDONLY;
	if (mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &flags, sizeof(flags)) < 0)
		return -1;
	return take_fd(&fd);
}

/* Beneath an empty, read-only root that holds nothing but the folders' names. */
static int mount_named(const struct folder_jail *jail, const int *mounts)
{
	if (mount("folders", FOLDER_JAIL_ROOT, "tmpfs", MS_NOSUID | MS_NODEV,
		  "mode=0755,size=64k,nr_inodes=256") < 0)
		return -1;
	for (size_t i = 0; i < jail->count; i++)
		if (mkdir(jail->folders[i].target, 0755) < 0)
			return -1;
	if (jail->drop && chown(FOLDER_JAIL_ROOT, jail->uid, jail->gid) < 0)
		return -1;
	if (mount(NULL, FOLDER_JAIL_ROOT, NULL,
		  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
		return -1;
	for (size_t i = 0; i < jail->count; i++)
		if (move_mount(mounts[i], "", AT_FDCWD, jail->folders[i].target,
			       MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return -1;
	return 0;
}

/* All are cloned before FOLDER_JAIL_ROOT is covered. */
static int mount_folders(const struct folder_jail *jail, int *mounts)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	for (size_t i = 0; i < jail->count; i++) {
		*jail->step = jail->folders[i].path;
		mounts[i] = detached_mount(&jail->folders[i]);
		if (mounts[i] < 0)
			return -1;
	}
	*jail->step = "mount";
	if (jail->named)
		return mount_named(jail, mounts);
	return move_mount(mounts[0], "", AT_FDCWD, FOLDER_JAIL_ROOT, MOVE_MOUNT_F_EMPTY_PATH);
}

/* The program that is started gets all privileges over the namespace, though its user is not root.
 */
static int keep_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -1;
	for (size_t i = 0; i < array_size(data); i++)
		data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &header, data) < 0)
		return -1;
	for (unsigned long cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0UL, 0UL) < 0 &&
		    errno != EINVAL) /* newer than the kernel */
			return -1;
	return 0;
}

/* virtiofsd keeps a descriptor for each file that the guest knows. */
static int raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -1;
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit);
}

static int enter_namespaces(const struct folder_jail *jail, int *mounts)
{
	*jail->step = "namespace";
	if (!jail->drop)
		return enter_user_namespace(jail) < 0 ? -1 : mount_folders(jail, mounts);
	if (unshare(CLONE_NEWNS) < 0 || mount_folders(jail, mounts) < 0)
		return -1;
	*jail->step = "user";
	if (become_owner(jail) < 0)
		return -1;
	*jail->step = "namespace";
	return enter_user_namespace(jail);
}

int folder_jail_enter(void *arg)
{
	const struct folder_jail *jail = arg;
	int mounts[64] = { 0 };

	if (jail->count > array_size(mounts)) {
		errno = E2BIG;
		return -1;
	}
	if (enter_namespaces(jail, mounts) < 0)
		return -1;
	*jail->step = "open";
	if (chdir("/") < 0 || access(FOLDER_JAIL_ROOT, R_OK | X_OK) < 0)
		return -1;
	*jail->step = "lock";
	if (raise_descriptors() < 0 || keep_capabilities() < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) < 0)
		return -1;
	return (int)prctl(PR_SET_SECCOMP, (unsigned long)SECCOMP_MODE_FILTER, &jail->filter, 0UL,
			  0UL);
}
