/* SPDX-License-Identifier: Apache-2.0 */

/* exec: run a command in a running VM by its agent (contract 2.10, 6.2; companions E). */

#include <errno.h>
#include <string.h>

#include "agent/client.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/vec.h"
#include "cmd/command.h"
#include "store/manage.h"
#include "store/vm.h"

enum {
	PATIENCE_MS = 10000, /* for an agent that is not up yet */
	FIRST_PAUSE_MS = 20,
	LONGEST_PAUSE_MS = 500,
	ENV_MAX = 1000, /* an agent takes PROTO_ENV_MAX */
};

struct exec_args {
	bool interactive;
	bool tty;
	bool detach;
	struct strings env;
	const char *workdir;
	const char *name;
	struct strings command;
};

static const struct option options[] = {
	{ .name = "interactive",
	  .letter = 'i',
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct exec_args, interactive),
	  .help = "Pass standard input on to the command.",
	  .flags = OPTION_LETTER },
	{ .name = "tty",
	  .letter = 't',
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct exec_args, tty),
	  .help = "Give the command a terminal.",
	  .flags = OPTION_LETTER },
	{ .name = "detach",
	  .letter = 'd',
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct exec_args, detach),
	  .help = "Leave the command running, without input and output, and return at once." },
	{ .name = "env",
	  .letter = 'e',
	  .kind = OPTION_STRINGS,
	  .offset = offsetof(struct exec_args, env),
	  .value = "key=value",
	  .help = "Set a variable for the command; KEY alone passes on the one that is set here." },
	{ .name = "workdir",
	  .letter = 'w',
	  .kind = OPTION_STRING,
	  .offset = offsetof(struct exec_args, workdir),
	  .value = "dir",
	  .help = "Folder in the VM to run the command in (default: the user's home)." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .kind = ARGUMENT_ONE,
	  .offset = offsetof(struct exec_args, name),
	  .help = "VM name.",
	  .completes = COMPLETES_VM },
	{ .name = "command",
	  .kind = ARGUMENT_VERBATIM,
	  .offset = offsetof(struct exec_args, command),
	  .help = "Command to run, with its arguments." },
	{ 0 },
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
static int try_exec(const struct vm *vm, const struct exec_args *args, unsigned wait_ms,
		    struct error *err)
{
	const struct client_exec how = {
		.argv = (const char *const *)args->command.items,
		.interactive = args->interactive,
		.tty = args->tty,
		.detach = args->detach,
		.env = &args->env,
		.workdir = args->workdir,
		.answer_ms = wait_ms,
	};
	auto_fd fd = vm_socket_connect(vm, "control.sock", err);

	if (fd < 0)
		return -ENOTCONN;
	return client_exec(fd, &how, err);
}

/* A VM that has just been started has no socket, then no agent, for a while. */
static int exec_patiently(const struct vm *vm, const struct exec_args *args, struct error *err)
{
	uint64_t end = clock_ms() + PATIENCE_MS, now, pause = FIRST_PAUSE_MS;
	int r;

	for (;;) {
		now = clock_ms();
		r = try_exec(vm, args, now < end ? (unsigned)(end - now) : 1, err);
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

/* KEY alone stands for what is set here, and for nothing where it is not. */
static void fill_in(struct strings *env)
{
	struct strings filled = VEC_INIT;

	for (size_t i = 0; i < env->len; i++) {
		const char *entry = env->items[i];
		const char *value = getenv(entry);

		if (strchr(entry, '='))
			strings_add(&filled, entry);
		else if (value)
			strings_addf(&filled, "%s=%s", entry, value);
	}
	strings_release(env);
	*env = filled;
}

static int validate(struct invocation *inv unused_, void *p, struct error *err)
{
	const struct exec_args *args = p;

	if (args->detach && (args->interactive || args->tty))
		return error_set(err, E_VALIDATION,
				 "--detach excludes -i and -t: the command gets neither input "
				 "nor a terminal");
	if (args->workdir && !*args->workdir)
		return error_set(err, E_VALIDATION, "--workdir needs the name of a folder");
	if (args->env.len > ENV_MAX)
		return error_set(err, E_VALIDATION, "--env can be given %d times at most", ENV_MAX);
	for (size_t i = 0; i < args->env.len; i++)
		if (strcspn(args->env.items[i], "=") == 0)
			return error_set(err, E_VALIDATION, "'%s' names no variable for --env",
					 args->env.items[i]);
	return 0;
}

static int run(struct invocation *inv, void *p, struct error *err)
{
	struct exec_args *args = p;
	auto_vm vm = VM_INIT;
	int r;

	r = vm_open(&inv->home, args->name, false, &vm, err);
	if (r < 0)
		return r;
	if (!is_running(&vm))
		return not_running(&vm, err);
	fill_in(&args->env);
	strings_take(&args->command, NULL); /* argv ends with NULL */
	return exec_patiently(&vm, args, err);
}

const struct command command_exec = {
	.name = "exec",
	.summary = "Run a command in a running VM",
	.discussion = "Needs an agent in the VM, such as linzer-agent. Everything after the VM's "
		      "name is passed on as it is, dashes included.",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct exec_args),
	.validate = validate,
	.run = run,
};
