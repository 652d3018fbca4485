/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/guest_command.h"

#include <errno.h>
#include <string.h>

#include "agent/client.h"
#include "base/clock.h"
#include "base/error.h"
#include "cmd/command.h"
#include "store/manage.h"
#include "store/vm.h"

enum {
	PATIENCE_MS =
		10000, /* for an agent that is not up yet: `run` closes then (RELAY_HOLD_MS) */
	ANSWER_MS = 120000, /* for one that is up and busy, with 200 commands at once */
	FIRST_PAUSE_MS = 20,
	LONGEST_PAUSE_MS = 500,
};

static bool is_running(const struct vm *vm)
{
	return vm_running_pid(vm) > 0;
}

static int not_running(const struct vm *vm, struct error *err)
{
	return error_set(err, E_NOT_RUNNING, "VM \"%s\" is not running", vm->name);
}

static int unreachable(struct error *err)
{
	char why[sizeof(err->text)];

	memcpy(why, err->text, sizeof(why));
	return error_set(err, E_FAILED,
			 "Failed to connect to the VM using its control socket: %s, "
			 "is the Tart Guest Agent running?",
			 why);
}

/* One attempt. Return: exit code, -ENOTCONN nobody answered, or error. */
static int try_once(const struct vm *vm, const struct client_exec *how, struct error *err)
{
	auto_fd fd = vm_socket_connect(vm, "control.sock", err);

	if (fd < 0)
		return -ENOTCONN;
	return client_exec(fd, how, err);
}

/* A VM that has just been started has no socket, then no agent, for a while. */
int guest_command_run(const struct vm *vm, struct client_exec *how, struct error *err)
{
	uint64_t end = clock_ms() + PATIENCE_MS, pause = FIRST_PAUSE_MS;
	int r;

	how->answer_ms = ANSWER_MS;
	for (;;) {
		r = try_once(vm, how, err);
		if (r != -ENOTCONN)
			return r;
		if (!is_running(vm))
			return not_running(vm, err);
		if (clock_ms() + pause >= end)
			return unreachable(err);
		clock_sleep_ms(pause);
		pause = pause * 2 < LONGEST_PAUSE_MS ? pause * 2 : LONGEST_PAUSE_MS;
	}
}

int guest_command_open(const struct invocation *inv, const char *name, struct vm *vm,
		       struct error *err)
{
	int r = vm_open(&inv->home, name, /* quiet= */ false, vm, err);

	if (r < 0)
		return r;
	return is_running(vm) ? 0 : not_running(vm, err);
}
