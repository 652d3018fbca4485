/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests on manage.sock. There is one so far: "freeze", by which a clone
 * asks for the disk's present content to become a read-only layer. The asker
 * shares the VM's .lock with us; we change the chain (store/disk.h) and make QEMU
 * write to the new overlay (tried.md 1):
 *
 *   add-fd, blockdev-add of the overlay without backing, blockdev-snapshot
 *
 * which drains what is in flight, so that the layer is what a disk would hold
 * at a power cut. The overlay's descriptor is the only way in for QEMU.
 */

#include "run/session.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/str.h"
#include "machine/qmp.h"
#include "store/manage.h"

enum {
	REQUEST_MS = 1000,
	CALL_MS = 10000,
	SNAPSHOT_MS = 60000, /* it waits for what the host's disk has in flight */
};

static int add_fd(struct session *session, int overlay, int64_t *set, struct error *err)
{
	auto_json *result = NULL;
	int r = qmp_call(session->qmp, "add-fd", NULL, overlay, CALL_MS, &result, err);

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
	int r = add_fd(session, overlay, &set, err);

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

static int freeze(struct session *session, struct error *err)
{
	if (session->plan.disks[0].read_only)
		return 0;
	return disk_freeze(&session->vm, &session->chain, switch_over, session, err);
}

/* manage.sock is 0600 in the VM's directory; whom we answer is checked all the same. */
static bool may_ask(int client)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

static void send_answer(int client, int r, const struct error *err)
{
	struct error ignored = ERROR_INIT;
	auto_str answer = STR_INIT;

	/* QEMU has gone, and so will we: that is the answer */
	if (r == -EPIPE || r == -ECONNRESET)
		return;
	if (r < 0)
		str_addf(&answer, "error %s\n", err->text);
	else
		str_adds(&answer, "ok\n");
	(void)!fs_write_all(client, answer.ptr, answer.len, &ignored);
}

void session_answer(struct session *session, int client)
{
	struct error err = ERROR_INIT;
	auto_str line = STR_INIT;
	auto_fd lock = -1; /* given back when all is done, whatever became of the asker */
	int r = 0;

	if (!may_ask(client))
		r = error_set(&err, EPERM, "not permitted");
	if (r == 0)
		r = manage_receive(&session->vm, client, REQUEST_MS, &line, &lock, &err);
	if (r == 0 && strcmp(line.ptr, "freeze") == 0)
		r = freeze(session, &err);
	else if (r == 0)
		r = error_set(&err, E_PROTOCOL, "unknown request '%s'", line.ptr);
	send_answer(client, r, &err);
	(void)close(client);
}
