/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/waiting.h"
#include "cmd/command.h"
#include "store/state.h"
#include "store/vm.h"

/*
 * Theory of operation
 * -------------------
 *
 * Three steps, each only if the VM still runs: ask the guest (SIGUSR2, the
 * power button), switch it off cleanly (SIGINT at 0.7 of the time-out), kill `run`
 * (SIGKILL at the time-out). The owner of the running lock is asked anew
 * before every signal and between opening a descriptor of that process and
 * using it, so a pid that meanwhile belongs to somebody else is never
 * hit. A VM that was stopped and started again by another is not ours to stop: the first
 * owner's end is the end.
 */

enum {
	TIMEOUT_DEFAULT = 30,
	POLITE_MIN_MS = 3000, /* with less time than this there is no asking */
	POLL_MS = 20,
	KILL_WAIT_MS = 10000, /* after SIGKILL, for the kernel to release the lock */
};
static const uint64_t timeout_max = 7 * 24 * 3600; /* seconds */

struct stop_args {
	const char *name;
	struct optional_number timeout;
};

static const struct option options[] = {
	{ .name = "timeout",
	  .letter = 't',
	  .kind = OPTION_U64,
	  .offset = offsetof(struct stop_args, timeout),
	  .help = "Seconds until the VM is killed (default: 30). The guest is asked to shut down "
		  "first, and switched off at 0.7 of this time; below 3 at once." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct stop_args, name),
	  .help = "VM name.",
	  .completes = COMPLETES_VM },
	{ 0 },
};

static bool still_runs(const struct vm *vm, pid_t owner)
{
	return vm_running_pid(vm) == owner;
}

/* Return: 0 sent, or nobody there any more; or error. */
static int send_signal(const struct vm *vm, pid_t owner, int signal, struct error *err)
{
	auto_fd process = pidfd_open(owner, 0);

	if (process < 0 && errno != ESRCH)
		return error_errno(err, "failed to reach the process of the VM \"%.200s\"",
				   vm->name);
	if (process < 0 || !still_runs(vm, owner))
		return 0;
	if (pidfd_send_signal(process, signal, NULL, 0) < 0 && errno != ESRCH)
		return error_errno(err,
				   signal == SIGKILL
					   ? "failed to forcefully terminate the VM \"%.200s\""
					   : "failed to stop the VM \"%.200s\"",
				   vm->name);
	return 0;
}

/* Return: does it still run at @deadline? */
static bool wait_until(const struct vm *vm, pid_t owner, uint64_t deadline)
{
	while (still_runs(vm, owner)) {
		if (clock_ms() >= deadline)
			return true;
		clock_sleep_ms(POLL_MS);
	}
	return false;
}

static int stop(const struct vm *vm, pid_t owner, uint64_t timeout_ms, struct error *err)
{
	uint64_t start = clock_ms();
	int r;

	if (timeout_ms >= POLITE_MIN_MS) {
		r = send_signal(vm, owner, SIGUSR2, err);
		if (r < 0 || !wait_until(vm, owner, start + timeout_ms / 10 * 7))
			return r;
	}
	r = send_signal(vm, owner, SIGINT, err);
	if (r < 0 || !wait_until(vm, owner, start + timeout_ms))
		return r;
	r = send_signal(vm, owner, SIGKILL, err);
	if (r < 0 || !wait_until(vm, owner, clock_ms() + KILL_WAIT_MS))
		return r;
	return error_set(err, E_FAILED,
			 "failed to forcefully terminate the VM \"%.200s\": it still runs",
			 vm->name);
}

/* A suspended VM is stopped by forgetting where it was. */
static int drop_state(const struct vm *vm, struct error *err)
{
	auto_fd lock = vm_lock(vm, err);

	if (lock < 0)
		return lock;
	/* somebody resumed it meanwhile */
	if (vm_running_pid(vm))
		return error_set(err, E_RUNNING, "VM \"%.200s\" is running", vm->name);
	if (unlinkat(vm->dir, "state.vzvmsave", 0) < 0 && errno != ENOENT)
		return error_errno(err, "%.200s/state.vzvmsave", vm->path);
	return state_drop(vm, err);
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct stop_args *args = data;
	uint64_t seconds = args->timeout.given ? args->timeout.unsigned_value : TIMEOUT_DEFAULT;
	struct waiting waiting;
	auto_vm vm = VM_INIT;
	int r = vm_open(&inv->home, args->name, false, &vm, err);

	if (r < 0)
		return r;
	pid_t owner = vm_running_pid(&vm);

	if (owner) {
		waiting_begin(&waiting, "stopping", NULL, NULL);
		r = stop(&vm, owner, (seconds > timeout_max ? timeout_max : seconds) * 1000, err);
		waiting_end(&waiting);
		return r;
	}
	if (vm_state(&vm) == VM_SUSPENDED)
		return drop_state(&vm, err);
	return error_set(err, E_NOT_RUNNING, "VM \"%.200s\" is not running", vm.name);
}

const struct command command_stop = {
	.name = "stop",
	.summary = "Stop a VM",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct stop_args),
	.run = run,
};
