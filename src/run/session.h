/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUN_SESSION_H
#define RUN_SESSION_H

/*
 * One VM's run, from claim to teardown. Each stage is a file of its own and
 * leaves the session in a state that run_session_release() can take down:
 *
 *   session.c    made, and taken down in the reverse order
 *   claim.c      the VM is ours: running lock, MACs, pending config
 *   cards.c      its network's rules are compiled; its cards, in launch.c's time
 *   disks.c      its disks are open; cloud_seed.c
 *   launch.c     folders, network, firmware, QEMU, QMP
 *   desk.c       of that, the display and what goes with it; vnc.c
 *   supervise.c  the loop: signals, QEMU's end, sockets
 *   suspend.c    SIGUSR1; resume.c and wake.c: its counterpart, a part of each stage
 *   requests.c   requests on manage.sock: freeze.c, net_request.c
 */

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "base/attr.h"
#include "base/error.h"
#include "machine/engine.h"
#include "machine/plan.h"
#include "run/console.h"
#include "run/control_socket.h"
#include "run/desk.h"
#include "run/disk_extra.h"
#include "run/errand.h"
#include "run/folders.h"
#include "run/identity.h"
#include "run/network.h"
#include "run/requests.h"
#include "run/resume.h"
#include "run/suspend.h"
#include "store/config.h"
#include "store/disk.h"
#include "store/runtime.h"
#include "store/vm.h"

struct home;
struct qmp;
struct relay;
struct run_options;

enum { SESSION_SIGNALS = 5 };

enum session_end {
	END_NOT_YET,
	END_BY_GUEST, /* powered off */
	END_BY_SUSPEND, /* its state is saved */
	END_BY_USER, /* SIGINT, SIGTERM, SIGHUP */
	END_BY_FAILURE, /* QEMU or a helper died: session.failure says what */
};

struct session {
	const struct home *home;
	const struct run_options *options;

	struct vm vm;
	struct config config;
	int running_lock; /* config.json; never close it early, never open that file again */
	int vm_lock; /* .lock, until QEMU has the disks */

	struct disk_chain chain;
	int root_fds[DISK_LAYERS_MAX];
	struct disk_extra extras[PLAN_DISKS_MAX]; /* --disk: of plan.disks[1], ... */
	size_t extra_count;
	unsigned freezes; /* tried since the start */
	char top_node[24]; /* the block node that QEMU writes to */

	struct engine engine;
	struct launch_plan plan;
	struct identity identity;
	struct resume resume;
	struct errand waking; /* wake.c: the clock */
	unsigned clock_turns; /* how often the guest was told the time */
	uint64_t clock_told; /* when it was last; ms */
	struct errand mounting; /* wake.c: the folders */
	struct errand leaving; /* suspend.c: the guest lets go of its folders */
	struct suspending suspending;
	struct strings parts; /* that make the machine (plan.h) */
	struct folders folders;
	struct network network;
	struct in_addr wanted; /* the address that the first card is to have, 0: any; see fixed */
	struct runtime runtime;
	pid_t qemu;
	int qemu_pidfd;
	int memory; /* the guest's (memory.h) */
	int qemu_errors; /* read end of QEMU's stdout and stderr */
	char last_error[256]; /* QEMU's last line there */
	struct qmp *qmp;
	int guest_agent; /* our end of the agent's port, until the relay has it */
	struct console console;
	struct relay *relay;
	struct requests requests; /* on manage.sock */
	struct control_socket net_control;
	struct desk desk;

	uv_loop_t loop;
	uv_signal_t signals[SESSION_SIGNALS];
	uv_poll_t qmp_poll, qemu_poll, errors_poll;
	uv_timer_t kill_timer, power_timer, room_timer, runtime_timer, link_timer;
	bool fixed; /* the wanted address, or none */
	bool runtime_changed; /* and is to be written when runtime_timer fires */
	bool guest_shut_down; /* QEMU said so */
	bool quit_sent;
	unsigned presses; /* of the power button, since it was asked for */
	uint64_t full_told; /* when a full disk was last spoken of (clock_ms), 0: never */
	enum session_end end;
	struct error failure; /* of END_BY_FAILURE, printable */
	int status_pipe; /* --detach: who waits for us; -1 */
};

/* QMP's events become the session's state (an event handler for qmp_new()). */
void session_on_event(void *arg, const char *event, const json_t *data);
/* Keep QEMU's last line of @text as the reason of a failure. */
void session_keep_error(struct session *session, const char *text, size_t len);
/* The run ends as failed: QEMU is killed. @why may be the engine's words. */
void session_fail(struct session *session, const char *why);

int run_session_init(struct session *session, struct error *err) must_use_;
void run_session_release(struct session *session);

/* Stages; each fills @err and leaves the rest to run_session_release(). */
int session_claim(struct session *session, struct error *err) must_use_;
/* Read what the VM's directory says of its network and compile its policy. */
int session_prepare_network(struct session *session, struct error *err) must_use_;
int session_open_disks(struct session *session, struct error *err) must_use_;
/* Of session_open_disks(): the seed for cloud-init, where one is wanted, as the last disk. */
int session_add_seed(struct session *session, struct error *err) must_use_;
/* A line of QEMU's from where it no longer repeats a disk's JSON. */
const char *session_without_arguments(const char *line);
/* What --disk opened and made, after QEMU's end. */
void session_close_extras(struct session *session);
int session_launch(struct session *session, struct error *err) must_use_;
/* Serve until the end. Return: the exit status. Before, signals are signals.h's. */
int session_supervise(struct session *session, struct error *err) must_use_;
/* Of session_launch(): start the cards, of which taps[] are the caller's, for the plan. */
int session_start_cards(struct session *session, int *taps, struct error *err) must_use_;
/* The card has another state: the runtime says so. */
void session_show_card(struct session *session, const struct network_card *card);
/* "freeze" on manage.sock: the disk's content becomes a layer that is not written any more. */
int session_freeze(struct session *session, struct error *err) must_use_;

#endif
