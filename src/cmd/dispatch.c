/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "build-info.h"
#include "cli/complete.h"
#include "cli/help.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "cmd/similar.h"
#include "cmd/transfer.h"

/*
 * Theory of operation
 * -------------------
 *
 * argv[0]'s last component is the name that messages and completion use. Then:
 * parse, open the home, validate, collect tmp/, run, print the error,
 * flush. Parsing touches no file, so that help, --version and mistakes are instant.
 *
 * How an error looks depends on where it arose (contract 1.2): while parsing and
 * validating it is "Error: ..." with the verb's usage; a usage error that a verb
 * finds later shows the program's usage; all else is the bare text.
 *
 * SIGINT ends a verb at once: what it was making is in tmp/ under a flock that its
 * death releases, and the next command collects it. SIGUSR1 and SIGUSR2 are
 * requests to `run`; any other verb that holds a VM's lock for a
 * moment (delete) must not die of them.
 */

enum { EXIT_USAGE = 64 };

const struct command *const commands[] = {
	&command_create,  &command_clone,  &command_run,	&command_set,
	&command_get,	  &command_list,   &command_login,	&command_logout,
	&command_ip,	  &command_net,	   &command_screenshot, &command_exec,
	&command_cp,	  &command_pull,   &command_push,	&command_tag,
	&command_inspect, &command_import, &command_export,	&command_prune,
	&command_rename,  &command_stop,   &command_delete,	&command_suspend,
	&command_logs,	  &command_doctor, &command_fqn,	NULL,
};

static void on_interrupt(int signal)
{
	static const char text[] = "Error: CancellationError()\n";

	(void)signal;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
	_exit(1);
}

static void set_signals(void)
{
	struct sigaction interrupt = { .sa_handler = on_interrupt };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction old;

	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)sigaction(SIGUSR1, &ignore, NULL);
	(void)sigaction(SIGUSR2, &ignore, NULL);
	if (!sigaction(SIGINT, NULL, &old) && old.sa_handler != SIG_IGN)
		(void)sigaction(SIGINT, &interrupt, NULL);
}

/*
 * Where a caller closed 0, 1 or 2, the next file opened would take the number and receive our
 * messages. Read-only /dev/null keeps the place: writing to it fails as it should.
 */
static void fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)open("/dev/null", O_RDONLY); /* the lowest free number: fd */
}

static void print_error(const char *text)
{
	(void)fprintf(stderr, "%s\n", text);
}

static int usage_error(const char *program, const struct command *command, const struct error *err)
{
	auto_str text = STR_INIT;

	str_addf(&text, "Error: %s\n", err->text);
	help_add_usage(&text, program, command);
	(void)fputs(text.ptr, stderr);
	return EXIT_USAGE;
}

static int validation_error(const struct invocation *inv, const struct command *command,
			    const struct error *err)
{
	if (err->code == E_USAGE)
		return usage_error(inv->program, command, err);
	(void)fprintf(stderr, "Error: %s\n", err->text);
	return 1;
}

static int run_error(const struct invocation *inv, const struct error *err)
{
	if (err->code == E_USAGE)
		return usage_error(inv->program, NULL, err);
	if (err->code == E_CANCELLED)
		print_error("Error: CancellationError()");
	else
		print_error(err->text);
	return error_exit_status(err->code);
}

static void collect_tmp(const struct invocation *inv)
{
	struct error err = ERROR_INIT;

	if (home_collect_tmp(&inv->home, &err) < 0)
		(void)fprintf(stderr, "Failed to perform garbage collection: %s\n", err.text);
}

typedef int (*run_fn)(struct invocation *inv, void *args, struct error *err);

/* It does all of it anew. */
static int run_elsewhere(struct invocation *inv, void *args, struct error *err)
{
	(void)args;
	return transfer_exec(inv, err);
}

static run_fn runner_of(const struct invocation *inv, const struct command *command)
{
	for (const struct command_runner *r = inv->runners; r && r->command; r++)
		if (r->command == command)
			return r->run;
	return command->run ? command->run : run_elsewhere;
}

bool command_by_own_name(const struct invocation *inv)
{
	return strcmp(inv->program, "tart") != 0 && strcmp(inv->program, "vetu") != 0;
}

static int execute(struct invocation *inv, const struct command *command, void *args)
{
	struct error err = ERROR_INIT;
	int status;

	if (runner_of(inv, command) == run_elsewhere)
		return run_elsewhere(inv, args, &err) < 0 ? run_error(inv, &err) : 0;
	if (!(command->flags & COMMAND_OPENS_HOME) && home_open(&inv->home, inv->program, &err) < 0)
		return run_error(inv, &err);
	if (command->validate && command->validate(inv, args, &err) < 0) {
		similar_vm_add(inv, command, args, &err);
		return validation_error(inv, command, &err);
	}
	if (!(command->flags & (COMMAND_KEEPS_TMP | COMMAND_OPENS_HOME)))
		collect_tmp(inv);
	status = runner_of(inv, command)(inv, args, &err);
	if (status >= 0)
		return status;
	similar_vm_add(inv, command, args, &err);
	image_name_help_add(inv, &err);
	return run_error(inv, &err);
}

static int print(const struct str *text)
{
	struct error err = ERROR_INIT;

	if (output_text(text, &err) >= 0)
		return 0;
	print_error(err.text);
	return 1;
}

static int show_command_help(const char *program, const struct command *command, bool hidden)
{
	auto_str text = STR_INIT;

	help_add_command(&text, program, command, hidden);
	return print(&text);
}

static int show_root_help(const char *program, bool hidden)
{
	auto_str text = STR_INIT;

	help_add_root(&text, program, commands, hidden);
	return print(&text);
}

static int show_version(void)
{
	auto_str text = STR_INIT;

	str_adds(&text, LINZER_VERSION "\n");
	return print(&text);
}

static int run_command(struct invocation *inv, const struct command *command, int argc, char **argv)
{
	auto_free void *args = xcalloc(1, command->args_size ? command->args_size : 1);
	struct error err = ERROR_INIT;
	int status;

	if (command->defaults)
		command->defaults(args);
	switch (option_parse(command, argc, argv, args, &err)) {
	case 0:
		status = execute(inv, command, args);
		break;
	case 1:
		status = show_command_help(inv->program, command, false);
		break;
	case 2:
		status = show_command_help(inv->program, command, true);
		break;
	case 3:
		status = show_version();
		break;
	default:
		taken_word_help_add(inv, command, argc, argv, &err);
		status = usage_error(inv->program, command, &err);
	}
	option_release_args(command, args);
	return status;
}

static const struct command *find_command(const char *name)
{
	for (const struct command *const *c = commands; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

/* What other programs of the kind, and fingers, call it. */
static const char *called_elsewhere(const char *word)
{
	static const struct {
		const char *theirs, *ours;
	} verbs[] = {
		{ "start", "run" }, { "up", "run" },	  { "ls", "list" },
		{ "ps", "list" },   { "images", "list" }, { "rm", "delete" },
		{ "ssh", "exec" },  { "shell", "exec" },  { "version", "--version" },
	};

	for (size_t i = 0; i < array_size(verbs); i++)
		if (strcmp(word, verbs[i].theirs) == 0)
			return verbs[i].ours;
	return NULL;
}

/* The subcommand that may have been meant by @word, or NULL. */
static const char *similar_command(const char *word)
{
	const char *similar = called_elsewhere(word);
	size_t best = similar ? 0 : SIZE_MAX;

	for (const struct command *const *c = commands; *c && word[0] != '-'; c++)
		if (!((*c)->flags & COMMAND_HIDDEN) && option_similar(word, (*c)->name, &best))
			similar = (*c)->name;
	return similar;
}

static int unknown_command(const char *program, const char *word)
{
	auto_str shown = STR_INIT;
	struct error err = ERROR_INIT;
	const char *similar = similar_command(word);

	str_add_printable(&shown, word);
	if (word[0] == '-' && word[1])
		(void)error_set(&err, E_USAGE, "Unknown option '%s'", shown.ptr);
	else
		(void)error_set(&err, E_USAGE, "Unexpected argument '%s'", shown.ptr);
	if (similar)
		(void)error_add_line(&err, "Help:  Did you mean '%s'?", similar);
	return usage_error(program, NULL, &err);
}

static int show_completion(const char *program, const char *shell)
{
	auto_str text = STR_INIT;
	struct error err = ERROR_INIT;

	if (complete_add_script(&text, program, shell, commands, &err) < 0)
		return usage_error(program, NULL, &err);
	return print(&text);
}

static bool asks_help(const char *word)
{
	return !strcmp(word, "-h") || !strcmp(word, "--help");
}

static int help_command(const char *program, const char *name)
{
	const struct command *command = name ? find_command(name) : NULL;

	if (!name || asks_help(name))
		return show_root_help(program, false);
	return command ? show_command_help(program, command, false)
		       : unknown_command(program, name);
}

/* What stands in the verb's place but is none. Return: the exit status, or -1. */
static int run_builtin(const char *program, const char *word, const char *next)
{
	static const char completion[] = "--generate-completion-script";

	if (!word || asks_help(word))
		return show_root_help(program, false);
	if (!strcmp(word, "--help-hidden"))
		return show_root_help(program, true);
	if (!strcmp(word, "--version"))
		return show_version();
	if (!strcmp(word, "help"))
		return help_command(program, next);
	if (!strcmp(word, completion) || !strcmp(word, "completion"))
		return show_completion(program, next);
	if (str_starts(word, completion) && word[sizeof(completion) - 1] == '=')
		return show_completion(program, word + sizeof(completion));
	return -1;
}

/* Lost output is a failure, also of a verb that did not look. */
static int flush_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	(void)fprintf(stderr, "failed to write to the standard output\n");
	return status ? status : 1;
}

int command_main(int argc, char **argv, const struct command_runner *runners)
{
	struct invocation inv = {
		.argc = argc, .argv = argv, .home = HOME_INIT, .runners = runners
	};
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const struct command *command;
	int status;

	inv.program = slash ? slash + 1 : argc ? argv[0] : "linzer";
	fill_standard_descriptors();
	(void)umask(umask(0) | 022); /* nothing of ours is for others to change */
	set_signals();
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	status = run_builtin(inv.program, argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL);
	if (status < 0) {
		command = find_command(argv[1]);
		status = command ? run_command(&inv, command, argc - 2, argv + 2)
				 : unknown_command(inv.program, argv[1]);
	}
	home_release(&inv.home);
	return flush_output(status);
}
