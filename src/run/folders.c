/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * virtiofsd wants a listening socket. It gets one whose name nobody chose (unix(7), autobind), and
 * whose first and only accepted connection was made by us before virtiofsd ran: that one is QEMU's.
 * Whoever else connects waits for ever.
 *
 * A folder is looked up by us (folder_group.h), as the user who named it, and mounted by the child,
 * which checks that it is still the same directory.
 */

#include "run/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/str.h"
#include "run/dir_option.h"
#include "run/folder_group.h"
#include "run/folder_jail.h"
#include "run/identity.h"

enum { SOCKET_FD = 3, GRACE_MS = 3000, EXPLAIN_MS = 1000, END_MS = 5000 };

/* QEMU's own, in C, and the one in Rust that came after it. Return: owned, or NULL. */
static char *find_program(void)
{
	static const char *const places[] = { "/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd",
					      "/usr/lib/virtiofsd" };
	const char *named = secure_getenv("LINZER_VIRTIOFSD");

	if (named && *named)
		return xstrdup(named);
	for (size_t i = 0; i < array_size(places); i++)
		if (access(places[i], X_OK) == 0)
			return xstrdup(places[i]);
	return NULL;
}

enum { GUEST_USER = 1000, VERSION_MS = 10000, VERSION_MAX = 4096 };

/*
 * How each kind is started such that the guest sees the files as its user GUEST_USER's: the one in
 * C tells the number that the user has in its namespace; the one in Rust wants to be root there,
 * and translates (since 1.13).
 */
struct kind {
	uid_t inside;
	const char *options[8];
};
static const char c_source[] = "source=" FOLDER_JAIL_ROOT;
static const char rust_source[] = "--shared-dir=" FOLDER_JAIL_ROOT;
static const struct kind in_c = { GUEST_USER,
				  { "--fd=3", "-o", c_source, "-o", "sandbox=namespace", "-o",
				    "log_level=err", "--rlimit-nofile=0" } };
static const struct kind in_rust = {
	0,
	{ "--fd=3", rust_source, "--sandbox=namespace", "--log-level=error", "--rlimit-nofile=0",
	  "--translate-uid=host:0:1000:1", "--translate-gid=host:0:1000:1" }
};

/* "virtiofsd version 7.2.22 (Debian ...)" or "virtiofsd 1.13.2". What says neither fails later. */
static const struct kind *kind_of(const char *program)
{
	const char *const argv[] = { program, "--version", NULL };
	const struct process_spec spec = { .argv = argv, .no_new_privs = true };
	struct error ignored = ERROR_INIT;
	auto_str text = STR_INIT;
	int r = process_run(&spec, NULL, &text, VERSION_MAX, NULL, VERSION_MS, &ignored);

	return r == 0 && str_starts(text.ptr, "virtiofsd 1.") ? &in_rust : &in_c;
}

/* A listening socket, and a connection that waits there to be accepted. */
static int make_sockets(int *listening, int *connected, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(address);
	auto_fd ours = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_fd theirs = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (ours < 0 || theirs < 0 ||
	    bind(theirs, (const struct sockaddr *)&address, sizeof(address.sun_family)) < 0 ||
	    listen(theirs, 1) < 0 || getsockname(theirs, (struct sockaddr *)&address, &len) < 0 ||
	    connect(ours, (const struct sockaddr *)&address, len) < 0)
		return error_errno(err, "cannot make a socket");
	*connected = take_fd(&ours);
	*listening = take_fd(&theirs);
	return 0;
}

static int jail_failed(const char *step, struct error *err)
{
	if (step && strcmp(step, "namespace") == 0 && (err->code == EPERM || err->code == ENOSPC))
		return error_set(err, E_FAILED,
				 "folders cannot be shared here: this host does not let its users "
				 "make user namespaces");
	if (step && strcmp(step, "open") == 0)
		return error_set(err, E_FAILED,
				 "permission denied for the user that a folder is served as");
	if (step && *step == '/' && err->code == ESTALE)
		return error_set(err, E_FAILED, "the folder '%s' has just been replaced", step);
	return step && *step == '/' ? error_wrap(err, "cannot share '%s'", step) : -err->code;
}

static int run_program(const struct process_spec *spec, struct folder_jail *jail,
		       struct folder_share *share, struct error *err)
{
	const char **step = mmap(NULL, sizeof(*step), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r;

	if (step == MAP_FAILED)
		return error_errno(err, "cannot share memory");
	jail->step = step;
	r = process_start(spec, &share->pid, err);
	if (r < 0)
		r = jail_failed(*step, err);
	(void)munmap(step, sizeof(*step));
	if (r < 0)
		return r;
	share->pidfd = (int)syscall(SYS_pidfd_open, share->pid, 0);
	return share->pidfd < 0 ? error_errno(err, "cannot watch virtiofsd") : 0;
}

static int start_program(const char *program, const struct kind *kind, int listening, int errors,
			 struct folder_jail *jail, struct folder_share *share, struct error *err)
{
	static const char *const environment[] = { "LC_ALL=C", NULL };
	const char *argv[array_size(kind->options) + 2] = { program };
	const struct process_fd fds[] = { { listening, SOCKET_FD }, { errors, 1 }, { errors, 2 } };
	const struct process_spec spec = { .argv = argv,
					   .env = environment,
					   .fds = fds,
					   .fd_count = array_size(fds),
					   .no_new_privs = true,
					   .new_session = true,
					   .in_child = folder_jail_enter,
					   .in_child_arg = jail };

	for (size_t i = 0; i < array_size(kind->options); i++)
		argv[i + 1] = kind->options[i];
	return run_program(&spec, jail, share, err);
}

static int error_pipe(struct folder_share *share, int *theirs, struct error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, "cannot make a pipe");
	share->errors = fds[0];
	*theirs = fds[1];
	return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? error_errno(err, "cannot make a pipe") : 0;
}

static int start_share(struct folder_share *share, const char *program,
		       const struct folder_group *group, bool drop, struct error *err)
{
	auto_free struct folder_jail *jail = xcalloc(1, sizeof(*jail));
	auto_fd listening = -1;
	auto_fd errors = -1;
	const struct kind *kind = kind_of(program);
	int r = folder_jail_init(jail, group->uid, group->gid, kind->inside, err);

	jail->folders = group->folders;
	jail->count = group->count;
	jail->named = group->named;
	jail->drop = drop;
	if (r == 0)
		r = make_sockets(&listening, &share->qemu, err);
	if (r == 0)
		r = error_pipe(share, &errors, err);
	if (r == 0)
		r = start_program(program, kind, listening, errors, jail, share, err);
	return r < 0 ? error_wrap(err, "--dir") : 0;
}

/* The folders of each tag, found before anything is started to serve one. */
struct found {
	struct folder_group groups[PLAN_FOLDERS_MAX];
	size_t count;
};

static void free_found(struct found **found)
{
	for (size_t i = 0; i < (*found)->count; i++)
		folder_group_release(&(*found)->groups[i]);
	free(*found);
}

static bool has_tag(const struct found *found, const char *tag)
{
	for (size_t i = 0; i < found->count; i++)
		if (strcmp(found->groups[i].tag, tag) == 0)
			return true;
	return false;
}

static int find_groups(struct found *found, const struct dir_options *dirs,
		       const struct identity *identity, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < dirs->len; i++) {
		const char *tag = dirs->items[i].tag;

		if (has_tag(found, tag))
			continue;
		if (found->count == PLAN_FOLDERS_MAX)
			return error_set(err, E_FAILED, "--dir: at most %d tags", PLAN_FOLDERS_MAX);
		r = folder_group_fill(&found->groups[found->count++], tag, dirs, identity, err);
	}
	return r;
}

static int add_share(struct folders *folders, const char *program, const struct folder_group *group,
		     const struct identity *identity, struct error *err)
{
	struct folder_share *share = &folders->shares[folders->count++];

	*share = (struct folder_share){ .tag = xstrdup(group->tag),
					.pidfd = -1,
					.errors = -1,
					.qemu = -1,
					.folders = folders };
	return start_share(share, program, group, identity->drop, err);
}

static int start_all(struct folders *folders, const char *program, const struct dir_options *dirs,
		     const struct identity *identity, struct error *err)
{
	cleanup_(free_found) struct found *found = xcalloc(1, sizeof(*found));
	int r = find_groups(found, dirs, identity, err);

	for (size_t i = 0; r == 0 && i < found->count; i++)
		r = add_share(folders, program, &found->groups[i], identity, err);
	return r;
}

int folders_start(struct folders *folders, const struct dir_options *dirs,
		  const struct identity *identity, struct error *err)
{
	auto_free char *program = NULL;

	if (dirs->len == 0)
		return 0;
	program = find_program();
	if (!program)
		return error_set(err, E_MISSING_TOOL,
				 "--dir: virtiofsd is not installed: install the package "
				 "'virtiofsd' (Debian 12: 'qemu-system-common')");
	return start_all(folders, program, dirs, identity, err);
}

void folders_fill_plan(const struct folders *folders, struct launch_plan *plan)
{
	plan->folder_count = folders->count;
	for (size_t i = 0; i < folders->count; i++)
		plan->folders[i] = (struct plan_folder){ .fd = folders->shares[i].qemu,
							 .tag = folders->shares[i].tag };
}

static void close_one(int *fd)
{
	cleanup_close_(fd);
	*fd = -1;
}

void folders_handed(struct folders *folders)
{
	for (size_t i = 0; i < folders->count; i++)
		close_one(&folders->shares[i].qemu);
}

/* Return: is there more to come? */
static bool keep_error(struct folder_share *share)
{
	char text[4096];
	ssize_t n = read(share->errors, text, sizeof(text) - 1);
	char *line;

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	text[n] = '\0';
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	line = strrchr(text, '\n');
	(void)snprintf(share->last_error, sizeof(share->last_error), "%.*s",
		       (int)sizeof(share->last_error) - 1, line ? line + 1 : text);
	return true;
}

/* Has it failed, waiting a moment for that? An end with status 0 is the answer to QEMU's. */
static bool has_failed(const struct folder_share *share)
{
	struct pollfd poll_fd = { .fd = share->pidfd, .events = POLLIN };
	siginfo_t info = { 0 };

	return poll(&poll_fd, 1, EXPLAIN_MS) > 0 &&
	       waitid(P_PIDFD, (id_t)share->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       (info.si_code != CLD_EXITED || info.si_status != 0);
}

int folders_explain(struct folders *folders, struct error *err)
{
	for (size_t i = 0; i < folders->count; i++) {
		struct folder_share *share = &folders->shares[i];

		if (!has_failed(share))
			continue;
		(void)keep_error(share);
		return error_set(err, E_FAILED, "--dir: virtiofsd failed%s%s",
				 share->last_error[0] ? ": " : "", share->last_error);
	}
	return 0;
}

static void on_errors(uv_poll_t *poll, int status, int events)
{
	struct folder_share *share = poll->data;

	(void)events;
	if (status < 0 || !keep_error(share))
		(void)uv_poll_stop(poll);
}

static void on_grace(uv_timer_t *timer)
{
	const struct folder_share *share = timer->data;
	auto_free char *why =
		str_format("the folders of tag '%s' are gone: virtiofsd ended%s%s", share->tag,
			   share->last_error[0] ? ": " : "", share->last_error);

	share->folders->on_gone(share->folders->arg, why);
}

static void on_end(uv_poll_t *poll, int status, int events)
{
	struct folder_share *share = poll->data;

	(void)status;
	(void)events;
	(void)uv_poll_stop(poll);
	(void)uv_poll_stop(&share->errors_poll);
	(void)keep_error(share);
	if (waitpid(share->pid, NULL, 0) == share->pid)
		share->pid = 0;
	(void)uv_timer_start(&share->grace, on_grace, GRACE_MS, 0);
}

static int watch_share(struct folder_share *share, uv_loop_t *loop, struct error *err)
{
	share->end_poll.data = share->errors_poll.data = share->grace.data = share;
	(void)uv_timer_init(loop, &share->grace);
	if (uv_poll_init(loop, &share->end_poll, share->pidfd) != 0 ||
	    uv_poll_init(loop, &share->errors_poll, share->errors) != 0 ||
	    uv_poll_start(&share->end_poll, UV_READABLE, on_end) != 0 ||
	    uv_poll_start(&share->errors_poll, UV_READABLE, on_errors) != 0)
		return error_set(err, E_FAILED, "cannot watch virtiofsd");
	return 0;
}

int folders_watch(struct folders *folders, uv_loop_t *loop,
		  void (*on_gone)(void *arg, const char *why), void *arg, struct error *err)
{
	int r = 0;

	folders->on_gone = on_gone;
	folders->arg = arg;
	for (size_t i = 0; r == 0 && i < folders->count; i++)
		r = watch_share(&folders->shares[i], loop, err);
	return r;
}

/*
 * With the one that it made, which serves while the first only waits for it. Whoever writes to the
 * pipe of errors is gone when that hangs up: the host may unmount the folder, or delete it.
 */
static void end_program(struct folder_share *share)
{
	struct pollfd writers = { .fd = share->errors };

	if (share->pid <= 0)
		return;
	(void)kill(-share->pid, SIGKILL);
	(void)waitpid(share->pid, NULL, 0);
	(void)poll(&writers, 1, END_MS);
	share->pid = 0;
}

/* The numbers of the descriptors stay, so that their handles do. */
static int succeed(struct folder_share *share, struct folder_share *fresh, struct error *err)
{
	(void)uv_timer_stop(&share->grace);
	(void)uv_poll_stop(&share->end_poll);
	(void)uv_poll_stop(&share->errors_poll);
	end_program(share);
	share->pid = fresh->pid;
	share->qemu = take_fd(&fresh->qemu);
	if (dup3(fresh->pidfd, share->pidfd, O_CLOEXEC) < 0 ||
	    dup3(fresh->errors, share->errors, O_CLOEXEC) < 0 ||
	    uv_poll_start(&share->end_poll, UV_READABLE, on_end) != 0 ||
	    uv_poll_start(&share->errors_poll, UV_READABLE, on_errors) != 0)
		return error_set(err, E_FAILED, "cannot watch virtiofsd");
	return 0;
}

static int restart_share(struct folder_share *share, const char *program,
			 const struct dir_options *dirs, const struct identity *identity,
			 struct error *err)
{
	cleanup_(folder_group_release) struct folder_group group = { 0 };
	struct folder_share fresh = { .pidfd = -1, .errors = -1, .qemu = -1 };
	int r = folder_group_fill(&group, share->tag, dirs, identity, err);

	if (r == 0)
		r = start_share(&fresh, program, &group, identity->drop, err);
	if (r == 0)
		r = succeed(share, &fresh, err);
	else
		end_program(&fresh);
	close_one(&fresh.pidfd);
	close_one(&fresh.errors);
	close_one(&fresh.qemu);
	return r;
}

int folders_restart(struct folders *folders, size_t first, size_t count,
		    const struct dir_options *dirs, const struct identity *identity,
		    struct error *err)
{
	auto_free char *program = find_program();
	int r = 0;

	if (!program)
		return error_set(err, E_MISSING_TOOL, "virtiofsd has gone");
	for (size_t i = first; r == 0 && i < first + count; i++)
		r = restart_share(&folders->shares[i], program, dirs, identity, err);
	return r;
}

void folders_stop(struct folders *folders)
{
	folders_handed(folders);
	for (size_t i = 0; i < folders->count; i++) {
		struct folder_share *share = &folders->shares[i];

		end_program(share);
		cleanup_close_(&share->pidfd);
		cleanup_close_(&share->errors);
		free(share->tag);
	}
	*folders = (struct folders)FOLDERS_INIT;
}
