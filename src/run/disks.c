/* SPDX-License-Identifier: Apache-2.0 */
#include "run/session.h"

#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "run/disk_option.h"
#include "run/partition.h"
#include "run/run.h"
#include "store/home.h"

static int add_extra(struct session *session, const char *text, struct error *err)
{
	size_t n = session->plan.disk_count;

	if (n == PLAN_DISKS_MAX)
		return error_set(err, E_FAILED, "too many disks: at most %d", PLAN_DISKS_MAX);
	session->plan.disk_count++;
	session->extra_count++;
	return disk_extra_open(session->home, text, &session->extras[n - 1],
			       &session->plan.disks[n], err);
}

const char *session_without_arguments(const char *line)
{
	const char *end;

	while ((end = strstr(line, "}: ")))
		line = end + strlen("}: ");
	return line;
}

void session_close_extras(struct session *session)
{
	for (size_t i = 0; i < session->extra_count; i++)
		disk_extra_release(&session->extras[i]);
	session->extra_count = 0;
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
	return r < 0 ? r : session_add_seed(session, err);
}
