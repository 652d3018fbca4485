/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/str.h"
#include "cli/terminal.h"
#include "cmd/command.h"
#include "cmd/output.h"
#include "store/vm.h"

/*
 * The console's log is what the guest printed. Its escape sequences are dropped: also of what
 * goes into a pipe the most ends on a terminal. --raw prints it byte for byte.
 */

enum { CHUNK = 64 * 1024, POLL_MS = 200 };

static const char current[] = "console.log";
static const char previous[] = "console.log.1";

struct logs_args {
	const char *name;
	bool follow, raw;
};

static const struct option options[] = {
	{ .name = "follow",
	  .letter = 'f',
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct logs_args, follow),
	  .help = "Go on printing until the VM stops." },
	{ .name = "raw",
	  .kind = OPTION_FLAG,
	  .offset = offsetof(struct logs_args, raw),
	  .help = "Byte for byte, escape sequences included." },
	{ 0 },
};

static const struct argument arguments[] = {
	{ .name = "name",
	  .offset = offsetof(struct logs_args, name),
	  .help = "VM name.",
	  .completes = COMPLETES_VM },
	{ 0 },
};

struct output {
	bool raw;
	struct terminal_filter filter;
};

/* Open a log. Return: the descriptor; -ENOENT (no error set) if there is none; or error. */
static int open_log(const struct vm *vm, const char *name, struct error *err)
{
	int fd = openat(vm->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : error_errno(err, "%.200s/%s", vm->path, name);
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		return fd;
	(void)close(fd);
	return error_set(err, E_INVALID, "%.200s/%s is not a regular file", vm->path, name);
}

/* Print what is left to read in @fd. */
static int print_rest(int fd, struct output *output, struct error *err)
{
	auto_free char *chunk = xmalloc(CHUNK);
	auto_str text = STR_INIT;
	ssize_t n;

	while ((n = read(fd, chunk, CHUNK)) > 0) {
		str_reset(&text);
		if (output->raw)
			str_add(&text, chunk, (size_t)n);
		else
			terminal_filter_add(&output->filter, chunk, (size_t)n, &text);
		int r = output_text(&text, err);

		if (r < 0)
			return r;
	}
	return n < 0 ? error_errno(err, "failed to read the console's log") : 0;
}

static int print_previous(const struct vm *vm, struct output *output, struct error *err)
{
	auto_fd fd = open_log(vm, previous, err);

	if (fd == -ENOENT)
		return 0;
	return fd < 0 ? fd : print_rest(fd, output, err);
}

/*
 * Print the current log; with @follow until the VM stops. The log may be turned over
 * meanwhile (renamed to the previous one, a new one begun): then what is left of the old one
 * is printed first.
 */
static int print_current(const struct vm *vm, bool follow, struct output *output, struct error *err)
{
	bool running = follow;
	int r = 0;

	do {
		auto_fd fd = open_log(vm, current, err);

		if (fd < 0 && fd != -ENOENT)
			return fd;
		do {
			running = follow && vm_running_pid(vm) != 0;
			r = fd < 0 ? 0 : print_rest(fd, output, err);
			if (r >= 0 && running)
				clock_sleep_ms(POLL_MS);
		} while (r >= 0 && running && fd >= 0 && lock_still_names(fd, vm->dir, current));
		if (r >= 0 && running && fd >= 0)
			r = print_rest(fd, output, err);
	} while (r >= 0 && running);
	return r;
}

static int run(struct invocation *inv, void *data, struct error *err)
{
	const struct logs_args *args = data;
	struct output output = { .raw = args->raw };
	auto_vm vm = VM_INIT;
	int r = vm_open(&inv->home, args->name, true, &vm, err);

	if (r >= 0)
		r = print_previous(&vm, &output, err);
	return r < 0 ? r : print_current(&vm, args->follow, &output, err);
}

const struct command command_logs = {
	.name = "logs",
	.summary = "Print what a VM's console showed",
	.options = options,
	.arguments = arguments,
	.args_size = sizeof(struct logs_args),
	.run = run,
};
