/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <sys/pidfd.h>

#include "base/error.h"
#include "cmd/command.h"
#include "store/runtime.h"
#include "store/vm.h"

struct suspend_args {
	const char *name;
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct suspend_args, name),
	  .help = "VM name.",
	  .completes = COMPLETES_VM },
	{ 0 },
};

/* A pid that meanwhile belongs to somebody else is not hit: see stop.c. */
static int send_signal(const struct vm *vm, pid_t owner, struct error *err)
{
	auto_fd process = pidfd_open(owner, 0);

	if (process >= 0 && vm_running_pid(vm) == owner &&
	    pidfd_send_signal(process, SIGUSR1, NULL, 0) == 0)
		return 0;
	if (process < 0 && errno != ESRCH)
		return error_errno(err, "Failed to suspend the VM");
	return error_set(err, E_FAILED,
			 "Failed to suspend the VM: failed to send SIGUSR1 signal to the "
			 "\"linzer run\" process running VM \"%.200s\"",
			 vm->name);
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct suspend_args *args = data;
	auto_vm vm = VM_INIT;
	struct runtime runtime = { 0 };
	int r = vm_open(&inv->home, args->name, /* quiet= */ false, &vm, err);

	if (r < 0)
		return r;
	if (!vm_is_run(&vm))
		return error_set(err, E_NOT_RUNNING, "VM \"%.200s\" is not running", vm.name);
	/* before it has written that, a signal would just end it */
	r = runtime_read(&vm, &runtime, err);
	if (r == 0)
		return error_set(err, E_FAILED,
				 "Failed to suspend the VM: VM \"%.200s\" is still starting",
				 vm.name);
	return r < 0 ? r : send_signal(&vm, runtime.pid, err);
}

const struct command command_suspend = {
	.name = "suspend",
	.summary = "Save a running VM's state and end it",
	.arguments = arguments,
	.args_size = sizeof(struct suspend_args),
	.run = run,
};
