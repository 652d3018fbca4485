/* SPDX-License-Identifier: Apache-2.0 */

/* exec: run a command in a running VM by its agent (contract 2.10, 6.2; companions E). */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/client.h"
#include "base/error.h"
#include "base/vec.h"
#include "cmd/command.h"
#include "cmd/guest_command.h"
#include "store/vm.h"

enum { ENV_MAX = 1000 /* an agent takes PROTO_ENV_MAX */ };

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

/* As contract 2.10 has it; but elsewhere "--" is what stands between options and words. */
static void explain_dashes(const struct invocation *inv, const char *word)
{
	if (strcmp(word, "--") == 0 && command_by_own_name(inv))
		(void)fputs("Help:  All that stands behind the VM's name is the command, so leave "
			    "out '--'\n",
			    stderr);
}

static int run(struct invocation *inv, void *p, struct error *err)
{
	struct exec_args *args = p;
	auto_vm vm = VM_INIT;
	struct client_exec how = {
		.interactive = args->interactive,
		.tty = args->tty,
		.detach = args->detach,
		.env = &args->env,
		.workdir = args->workdir,
	};
	int r = guest_command_open(inv, args->name, &vm, err);

	if (r < 0)
		return r;
	fill_in(&args->env);
	strings_take(&args->command, NULL); /* argv ends with NULL */
	how.argv = (const char *const *)args->command.items;
	r = guest_command_run(&vm, &how, err);
	if (r > 0)
		explain_dashes(inv, how.argv[0]);
	return r;
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
