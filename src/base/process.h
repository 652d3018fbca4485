/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

/*
 * Starting programs. A child gets exactly the descriptors listed for it,
 * /dev/null for those of 0, 1 and 2 that are not listed, default signal
 * dispositions and an empty signal mask, and dies by SIGKILL when the thread
 * that started it does (unless it is meant to outlive it).
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"

struct error;
struct str;

struct process_fd {
	int ours; /* a descriptor of this process */
	int theirs; /* its number in the child */
};

struct process_spec {
	const char *const *argv; /* NULL-terminated; argv[0] is the path or a name to find */
	const char *const *env; /* NULL-terminated, or NULL: this process's own */
	const struct process_fd *fds;
	size_t fd_count;
	uid_t uid; /* with drop: become this user and group before exec */
	gid_t gid;
	const gid_t *groups; /* with drop: supplementary groups */
	size_t group_count;
	bool drop;
	bool no_new_privs;
	bool outlive; /* do not set the parent-death signal */
	bool new_session; /* setsid() */
	/* runs in the child after the fds are in place, before privileges go;
	 * only async-signal-safe calls; non-zero return: the child fails */
	int (*in_child)(void *arg);
	void *in_child_arg;
};

/*
 * Start a program; success means that exec succeeded. A missing program is
 * E_MISSING_TOOL. Return: 0, @pid is the caller's to wait for; or error.
 */
int process_start(const struct process_spec *spec, pid_t *pid, struct error *err) must_use_;
/* fork(2) such that no handler of this process runs in the child, whose signals are all blocked
 * until it unblocks them. */
pid_t process_fork(void) must_use_;
/* After fork(): every signal does what it does by default, and none is blocked. Async-signal-safe.
 */
void process_default_signals(void);
/* pthread_create(3) of a thread that hears no signals: they are the main thread's. E_FAILED. */
int process_start_thread(pthread_t *thread, void *(*run)(void *), void *arg,
			 struct error *err) must_use_;
/* Wait for @pid. @status: exit status, or 128 + signal. */
int process_wait(pid_t pid, int *status, struct error *err) must_use_;
/*
 * Run to the end with @input (may be NULL) on stdin, collecting at most
 * @limit bytes of stdout and 4 KiB of stderr (both may be NULL: discarded;
 * more output than @limit: the child is killed, E_TOO_BIG).
 * @timeout_ms: kill it then (-ETIMEDOUT); 0 waits for ever.
 * Return: the exit status >= 0 (128 + signal), or error.
 */
int process_run(const struct process_spec *spec, const struct str *input, struct str *out,
		size_t limit, struct str *errors, uint64_t timeout_ms, struct error *err) must_use_;

#endif
