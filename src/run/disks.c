/* SPDX-License-Identifier: Apache-2.0 */
#include "run/session.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "run/disk_option.h"
#include "run/home_path.h"
#include "run/partition.h"
#include "run/run.h"
#include "store/home.h"

static int open_extra(const char *path, bool read_only, struct error *err)
{
	auto_free char *real = home_path_expand(path);
	auto_fd fd = fs_open(AT_FDCWD, real,
			     (read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK | O_NOCTTY, err);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, E_FAILED, "disk '%s' is not a regular file", path);
	if (st.st_size == 0)
		return error_set(err, E_FAILED, "disk '%s' is empty", path);
	if (!read_only && flock(fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(err, E_FAILED,
				 "disk %s seems to be already in use, unmount it first", path);
	return take_fd(&fd);
}

static int add_extra(struct session *session, const char *text, struct error *err)
{
	auto_disk_option option = DISK_OPTION_INIT;
	struct plan_disk *disk;
	int fd, r;

	if (session->plan.disk_count == PLAN_DISKS_MAX)
		return error_set(err, E_FAILED, "too many disks: at most %d", PLAN_DISKS_MAX);
	r = disk_option_parse(text, &option, err);
	if (r < 0)
		return r;
	fd = open_extra(option.path, option.read_only, err);
	if (fd < 0)
		return fd;
	session->extra_fds[session->extra_count++] = fd;
	disk = &session->plan.disks[session->plan.disk_count++];
	*disk = (struct plan_disk){ .layers = { { .fd = fd, .qcow2 = false } },
				    .layer_count = 1,
				    .read_only = option.read_only,
				    .sync = option.sync,
				    .caching = option.caching };
	return 0;
}

/* What is wrong with a raw disk is said before the guest finds out; a chain was checked as raw. */
static int check_root(const struct session *session, struct error *err)
{
	uint8_t head[1024];
	ssize_t n;

	if (session->chain.size == 0)
		return error_set(err, E_INVALID, "the disk of VM \"%s\" is empty",
				 session->vm.name);
	if (session->chain.count > 1)
		return 0;
	n = pread(session->root_fds[0], head, sizeof(head), 0);
	if (n < 0)
		return error_errno(err, "cannot read the disk of VM \"%s\"", session->vm.name);
	return partition_check(head, (size_t)n, session->chain.size, err);
}

static int add_root(struct session *session, struct error *err)
{
	auto_disk_option option = DISK_OPTION_INIT;
	struct plan_disk *disk = &session->plan.disks[0];
	int r = 0;

	if (session->options->root_disk)
		r = disk_option_parse_list(session->options->root_disk, &option, err);
	if (r == 0 && !session->resume.active)
		r = disk_merge_if_deep(&session->vm, &session->chain, err);
	if (r == 0)
		r = disk_open_layers(&session->vm, &session->chain, option.read_only,
				     session->root_fds, err);
	if (r == 0)
		r = check_root(session, err);
	if (r < 0)
		return r;
	*disk = (struct plan_disk){ .layer_count = session->chain.count,
				    .read_only = option.read_only,
				    .sync = option.sync,
				    .caching = option.caching };
	for (size_t i = 0; i < session->chain.count; i++)
		disk->layers[i] = (struct plan_layer){ .fd = session->root_fds[i],
						       .qcow2 = session->chain.layers[i].qcow2 };
	session->plan.disk_count = 1;
	return 0;
}

int session_open_disks(struct session *session, struct error *err)
{
	int r = disk_wait_unused(&session->vm, err);

	if (r == 0)
		r = disk_read(&session->vm, &session->chain, err);
	if (r == 0)
		r = add_root(session, err);
	for (size_t i = 0; r == 0 && i < session->options->disks.len; i++)
		r = add_extra(session, session->options->disks.items[i], err);
	return r;
}
