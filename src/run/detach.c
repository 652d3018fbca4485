/* SPDX-License-Identifier: Apache-2.0 */
#include "run/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "run/run.h"
#include "store/home.h"
#include "store/vm.h"

enum { LOG_MAX = 1024 * 1024 };

/* run.log goes on from run to run; one that has become long begins anew. */
static int open_log(const struct vm *vm, struct error *err)
{
	auto_fd log = fs_open(vm->dir, "run.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, err);
	struct stat st;

	if (log < 0)
		return log;
	if (fstat(log, &st) < 0 || (st.st_size > LOG_MAX && ftruncate(log, 0) < 0))
		return error_errno(err, "cannot open '%s'", "run.log");
	return take_fd(&log);
}

static int redirect_output(const struct home *home, const char *name, struct error *err)
{
	auto_vm vm = VM_INIT;
	auto_fd null = -1;
	auto_fd log = -1;
	int r = vm_open(home, name, /* quiet= */ true, &vm, err);

	if (r < 0)
		return r;
	null = fs_open(AT_FDCWD, "/dev/null", O_RDWR, err);
	if (null < 0)
		return null;
	log = open_log(&vm, err);
	if (log < 0)
		return log;
	if (dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
	    dup2(log, STDERR_FILENO) < 0)
		return error_errno(err, "cannot open '%s'", "run.log");
	return 0;
}

static int wait_for_word(int fd, bool for_agent, struct error *err)
{
	struct error word;
	char *p = (char *)&word;
	size_t got = 0;

	while (got < sizeof(word)) {
		ssize_t n = read(fd, p + got, sizeof(word) - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, E_FAILED, "'run' ended before %s, see run.log",
					 for_agent ? "the guest's agent answered"
						   : "the VM was running");
		got += (size_t)n;
	}
	word.text[sizeof(word.text) - 1] = '\0';
	if (word.code == 0)
		return 0;
	return error_set(err, word.code, "%s", word.text);
}

static int wait_for_child(const struct run_options *options, int fd, struct error *err)
{
	int r;

	if (options->on_wait)
		options->on_wait(true);
	r = wait_for_word(fd, options->wait_ready, err);
	if (options->on_wait)
		options->on_wait(false);
	return r;
}

int detach_fork(const struct home *home, const struct run_options *options, int *status_pipe,
		struct error *err)
{
	int fds[2], r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_errno(err, "cannot start in the background");
	(void)fflush(stdout);
	pid = fork();
	if (pid < 0) {
		r = error_errno(err, "cannot start in the background");
		(void)close(fds[0]);
		(void)close(fds[1]);
		return r;
	}
	if (pid > 0) {
		(void)close(fds[1]);
		r = wait_for_child(options, fds[0], err);
		(void)close(fds[0]);
		return r;
	}
	(void)close(fds[0]);
	*status_pipe = fds[1];
	(void)setsid();
	if (redirect_output(home, options->name, err) < 0) {
		detach_failed(status_pipe, err);
		_exit(1);
	}
	return 1;
}

static void send_word(int *status_pipe, const struct error *word)
{
	struct error ignored = ERROR_INIT;

	if (*status_pipe < 0)
		return;
	(void)!fs_write_all(*status_pipe, word, sizeof(*word), &ignored);
	(void)close(take_fd(status_pipe));
}

void detach_ready(int *status_pipe)
{
	struct error none = ERROR_INIT;

	send_word(status_pipe, &none);
}

void detach_failed(int *status_pipe, const struct error *err)
{
	send_word(status_pipe, err);
}
