/* SPDX-License-Identifier: Apache-2.0 */

/*
 * "freeze" on manage.sock (requests.c), by which a clone asks for the disk's present content
 * to become a read-only layer. The asker shares the VM's .lock with us; we change the chain
 * (store/disk.h) and make QEMU write to the new overlay (tried.md 1):
 *
 *   add-fd, blockdev-add of the overlay without backing, blockdev-snapshot
 *
 * which drains what is in flight, so that the layer is what a disk would hold
 * at a power cut. The overlay's descriptor is the only way in for QEMU.
 */

#include "run/session.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/json.h"
#include "machine/qmp.h"

enum {
	CALL_MS = 10000,
	SNAPSHOT_MS = 60000, /* it waits for what the host's disk has in flight */
};

/* Give QEMU a copy of @fd as a set of its own: "/dev/fdset/<*set>" is its name there. */
static int lend(struct session *session, int fd, int64_t *set, struct error *err)
{
	auto_json *result = NULL;
	int r = qmp_call(session->qmp, "add-fd", NULL, fd, CALL_MS, &result, err);

	if (r < 0)
		return r;
	if (json_get_int(result, "fdset-id", 0, INT32_MAX, set, err) != 1)
		return error_set(err, E_PROTOCOL, "QEMU answered 'add-fd' with no set");
	return 0;
}

/* Where nobody can say what QEMU writes to, it must not go on: kill it and see it dead. */
static void end_in_doubt(const struct session *session)
{
	siginfo_t info;

	(void)kill(session->qemu, SIGKILL);
	/* the loop collects it */
	(void)waitid(P_PID, (id_t)session->qemu, &info, WEXITED | WNOWAIT);
}

static int take_snapshot(struct session *session, const char *top, const char *overlay,
			 struct error *err)
{
	int r = qmp_call(session->qmp, "blockdev-snapshot", qemu_snapshot(top, overlay), -1,
			 SNAPSHOT_MS, NULL, err);

	if (r < 0 && r != -E_FAILED) {
		end_in_doubt(session);
		return 0;
	}
	return r;
}

/*
 * A disk_switch_fn: make QEMU write to @overlay from now on. It fails only
 * where QEMU certainly goes on as before.
 */
static int switch_over(void *arg, int overlay, struct error *err)
{
	struct session *session = arg;
	char next[sizeof(session->top_node)];
	int64_t set = -1;
	int r = lend(session, overlay, &set, err);

	if (r < 0)
		return r;
	/* a name is never used twice: a failed attempt may have left its node */
	(void)snprintf(next, sizeof(next), "overlay%u", ++session->freezes);
	r = qmp_call(session->qmp, "blockdev-add",
		     qemu_overlay_node(&session->plan.disks[0], next, set), -1, CALL_MS, NULL, err);
	if (r == 0)
		r = take_snapshot(session, session->top_node, next, err);
	if (r == 0)
		memcpy(session->top_node, next, sizeof(next));
	return r;
}

int session_freeze(struct session *session, struct error *err)
{
	if (session->plan.disks[0].read_only)
		return 0;
	return disk_freeze(&session->vm, &session->chain, switch_over, session, err);
}
