/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From open disks to a running QEMU. Everything that QEMU touches is handed to
 * it as a descriptor; it runs as a user of its own (identity.h), in its
 * seccomp sandbox, and dies with us (process.h sets the parent-death signal
 * after the change of user).
 *
 * Sockets to QEMU are socketpairs: our end closing is harmless to it and its
 * end closing tells us that it died.
 */

#include "run/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/process.h"
#include "base/str.h"
#include "machine/engine.h"
#include "machine/qmp.h"
#include "run/dir_archive.h"
#include "run/memory.h"
#include "run/run.h"
#include "run/vsock.h"

enum { FIRMWARE_MAX = 64 * 1024 * 1024, CHILD_FDS_MAX = 128, HANDSHAKE_MS = 60000 };

static const char efivars[] = "efivars.fd";

/* Descriptors that only QEMU needs: closed here once it has them. */
struct handed {
	int qmp, console, agent, errors, code, vars, vsock;
	int taps[PLAN_NICS_MAX];
};
#define HANDED_INIT                                                                          \
	{                                                                                    \
		.qmp = -1, .console = -1, .agent = -1, .errors = -1, .code = -1, .vars = -1, \
		.vsock = -1, .taps = {                                                       \
			-1,                                                                  \
			-1,                                                                  \
			-1,                                                                  \
			-1,                                                                  \
			-1,                                                                  \
			-1,                                                                  \
			-1,                                                                  \
			-1                                                                   \
		}                                                                            \
	}
_Static_assert(PLAN_NICS_MAX == 8, "HANDED_INIT");

static void close_one(int *fd)
{
	cleanup_close_(fd);
	*fd = -1;
}

static void handed_release(struct handed *h)
{
	close_one(&h->qmp);
	close_one(&h->console);
	close_one(&h->agent);
	close_one(&h->errors);
	close_one(&h->code);
	close_one(&h->vars);
	close_one(&h->vsock);
	for (size_t i = 0; i < array_size(h->taps); i++)
		close_one(&h->taps[i]);
}

static int pair(int *ours, int *theirs, struct error *err)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return error_errno(err, "cannot make a socket");
	*ours = fds[0];
	*theirs = fds[1];
	/* ours alone: the flag belongs to the open file description */
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, "cannot make a socket");
	return 0;
}

static int error_pipe(struct session *session, struct handed *h, struct error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, "cannot make a pipe");
	session->qemu_errors = fds[0];
	h->errors = fds[1];
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, "cannot make a pipe");
	return 0;
}

/* Is there a variable store of the size that this firmware's template has? */
static bool has_variables(const struct session *session)
{
	struct stat ours, template;

	return fstatat(session->vm.dir, efivars, &ours, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(ours.st_mode) && stat(session->engine.firmware_vars, &template) == 0 &&
	       ours.st_size == template.st_size;
}

/*
 * The VM's own variable store, made from the firmware's template on its first
 * run, and anew where another firmware (or architecture) wants another size.
 */
static int open_variables(struct session *session, struct error *err)
{
	auto_str template = STR_INIT;
	int r = 0;

	if (!has_variables(session)) {
		r = fs_read_file(AT_FDCWD, session->engine.firmware_vars, FIRMWARE_MAX, &template,
				 err);
		if (r == 0)
			r = fs_replace_file(session->vm.dir, efivars, template.ptr, template.len,
					    0600, err);
	}
	if (r < 0)
		return r;
	return fs_open(session->vm.dir, efivars, O_RDWR | O_NOFOLLOW, err);
}

static int open_firmware(struct session *session, struct handed *h, struct error *err)
{
	h->code = fs_open(AT_FDCWD, session->engine.firmware_code, O_RDONLY, err);
	if (h->code < 0)
		return h->code;
	h->vars = open_variables(session, err);
	return h->vars < 0 ? h->vars : 0;
}

static int open_sockets(struct session *session, struct handed *h, int *qmp, int *console,
			struct error *err)
{
	int r = pair(qmp, &h->qmp, err);

	if (r == 0)
		r = pair(console, &h->console, err);
	if (r == 0)
		r = pair(&session->guest_agent, &h->agent, err);
	if (r == 0)
		r = error_pipe(session, h, err);
	return r;
}

static int open_vsock(struct session *session, struct handed *h, struct error *err)
{
	if (!session->options->vsock)
		return 0;
	h->vsock = vsock_open(&session->plan.vsock_cid, err);
	session->plan.vsock_fd = h->vsock;
	return h->vsock < 0 ? h->vsock : 0;
}

static int fill_plan(struct session *session, const struct handed *h, struct error *err)
{
	struct launch_plan *plan = &session->plan;
	const struct config *config = &session->config;

	plan->arch = config->arch == ARCH_ARM64 ? PLAN_ARM64 : PLAN_AMD64;
	plan->cpus = config->cpu_count;
	plan->memory = memory_size(config->memory);
	plan->firmware_code_fd = h->code;
	plan->firmware_vars_fd = h->vars;
	resume_fill_plan(session, plan);
	folders_fill_plan(&session->folders, plan);
	plan->channels[0] = (struct plan_channel){ .fd = h->agent, .name = "org.linzer.agent" };
	plan->channel_count = 1;
	plan->qmp_fd = h->qmp;
	plan->console_fd = h->console;
	plan->nested = session->options->nested;
	if (accel_decide(plan->arch, session->options->accel, &plan->accel, err) < 0)
		return -err->code;
	return desk_plan(session, err);
}

/*
 * What QEMU sees of our environment: where to find libraries and put temporary files. The rest,
 * with whatever passwords are in it, is no business of a guest that took it over.
 */
static void add_environment(struct strings *env)
{
	static const char *const names[] = { "PATH", "LD_LIBRARY_PATH", "TMPDIR" };

	strings_add(env, "LC_ALL=C");
	for (size_t i = 0; i < array_size(names); i++) {
		const char *value = getenv(names[i]);

		if (value)
			strings_addf(env, "%s=%s", names[i], value);
	}
}

/* The group that may open /dev/kvm; root's is none to give to QEMU. Return: is there one? */
static bool find_kvm_group(enum plan_accel accel, gid_t *group)
{
	struct stat st;

	if (accel != PLAN_KVM || stat("/dev/kvm", &st) < 0 || st.st_gid == 0)
		return false;
	*group = st.st_gid;
	return true;
}

static int start_qemu(struct session *session, const struct handed *h, struct error *err)
{
	auto_strings argv = VEC_INIT;
	struct process_fd fds[CHILD_FDS_MAX];
	size_t count = 0;
	auto_strings env = VEC_INIT;
	gid_t kvm_group = 0;
	int r = qemu_arguments(&session->plan, session->engine.program, &argv, fds, &count,
			       CHILD_FDS_MAX - 3, err);

	if (r < 0)
		return r;
	qemu_machine_parts(&argv, &session->parts);
	strings_take(&argv, NULL);
	add_environment(&env);
	desk_environment(session, &env, fds, &count);
	strings_take(&env, NULL);
	fds[count++] = (struct process_fd){ h->errors, 1 };
	fds[count++] = (struct process_fd){ h->errors, 2 };
	struct process_spec spec = {
		.argv = (const char *const *)argv.items,
		.env = (const char *const *)env.items,
		.fds = fds,
		.fd_count = count,
		.drop = session->identity.drop,
		.uid = session->identity.uid,
		.gid = session->identity.uid,
		.no_new_privs = true,
		.new_session = true,
		.groups = &kvm_group,
		.group_count = find_kvm_group(session->plan.accel, &kvm_group) ? 1 : 0,
	};
	r = process_start(&spec, &session->qemu, err);
	if (r < 0)
		return r;
	session->qemu_pidfd = pidfd_open(session->qemu, 0);
	if (session->qemu_pidfd < 0)
		return error_errno(err, "cannot watch QEMU");
	return 0;
}

static void close_disks(struct session *session)
{
	for (size_t i = 0; i < session->chain.count; i++)
		close_one(&session->root_fds[i]);
}

/* What can be left out if QEMU did not start for it. */
static const char *way_out(const struct session *session)
{
	return session->plan.window == WINDOW_NONE ? ""
						   : "; --no-graphics runs it without a window";
}

static int on_handshake_failed(struct session *session, struct error *err)
{
	char text[4096];
	ssize_t n = read(session->qemu_errors, text, sizeof(text));

	if (n > 0)
		session_keep_error(session, text, (size_t)n);
	if (folders_explain(&session->folders, err) < 0)
		return -err->code;
	if (session->last_error[0])
		return error_set(err, E_FAILED, "failed to start the VM: %s%s",
				 session_without_arguments(session->last_error), way_out(session));
	return error_wrap(err, "failed to start the VM");
}

static int connect_qmp(struct session *session, int *qmp, struct error *err)
{
	int r;

	session->qmp = qmp_new(take_fd(qmp), session_on_event, session);
	r = qmp_handshake(session->qmp, HANDSHAKE_MS, err);
	if (r == 0)
		r = qmp_check_engine(session->qmp, err);
	if (r < 0)
		return on_handshake_failed(session, err);
	return 0;
}

int session_launch(struct session *session, struct error *err)
{
	cleanup_(handed_release) struct handed h = HANDED_INIT;
	auto_fd qmp = -1;
	auto_fd console = -1;
	int r = engine_find(session->config.arch == ARCH_ARM64 ? PLAN_ARM64 : PLAN_AMD64,
			    &session->engine, err);

	if (r == 0)
		r = open_firmware(session, &h, err);
	if (r == 0)
		r = open_vsock(session, &h, err);
	if (r == 0)
		r = identity_claim(&session->identity, err);
	if (r == 0)
		r = dir_archives_unpack(session->options->archives, session->options->dirs,
					session->home, &session->identity, err);
	if (r == 0)
		r = open_sockets(session, &h, &qmp, &console, err);
	if (r == 0)
		r = session->memory =
			memory_make(&session->identity, memory_size(session->config.memory), err);
	if (r >= 0)
		r = resume_copy_memory(session, err);
	if (r == 0)
		r = folders_start(&session->folders, session->options->dirs, &session->identity,
				  err);
	if (r == 0)
		r = session_start_cards(session, h.taps, err);
	if (r == 0)
		r = fill_plan(session, &h, err);
	if (r == 0)
		r = start_qemu(session, &h, err);
	if (r < 0)
		return r;
	handed_release(&h);
	if (!session->plan.incoming)
		folders_handed(&session->folders);
	close_disks(session);
	r = console_start(&session->console, &session->loop, take_fd(&console), err);
	if (r == 0)
		r = connect_qmp(session, &qmp, err);
	if (r == 0)
		r = desk_open(session, err);
	if (r == 0)
		r = resume_load(session, err);
	if (r < 0)
		return r;
	session->runtime.pid = getpid();
	session->runtime.qemu_pid = session->qemu;
	session->runtime.started = time(NULL);
	(void)snprintf(session->runtime.accel, sizeof(session->runtime.accel), "%s",
		       accel_name(session->plan.accel));
	return 0;
}
