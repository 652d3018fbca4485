/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

/* Signal handlers need these, so they are the process's. */
static volatile sig_atomic_t raw_fd = -1;
static struct termios cooked, raw;
static int size_pipe[2] = { -1, -1 };

/* Async-signal-safe. */
void terminal_restore(void)
{
	int fd = raw_fd;

	raw_fd = -1;
	if (fd >= 0)
		(void)tcsetattr(fd, TCSADRAIN, &cooked);
}

static void die(int signal_number)
{
	terminal_restore();
	(void)signal(signal_number, SIG_DFL);
	(void)raise(signal_number);
}

static void resume(int signal_number unused_)
{
	int saved = errno;

	if (raw_fd >= 0)
		(void)tcsetattr(raw_fd, TCSADRAIN, &raw);
	errno = saved;
}

static void handle(int signal_number, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(signal_number, &action, NULL);
}

/* Who started us with a signal ignored (nohup) wants it to stay so. */
static bool is_ignored(int signal_number)
{
	struct sigaction now;

	return sigaction(signal_number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void terminal_raw(int fd)
{
	static const int deadly[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGPIPE };

	if (tcgetattr(fd, &cooked) < 0)
		return;
	raw = cooked;
	cfmakeraw(&raw);
	for (size_t i = 0; i < array_size(deadly); i++)
		if (!is_ignored(deadly[i]))
			handle(deadly[i], die);
	handle(SIGCONT, resume);
	raw_fd = fd;
	(void)tcsetattr(fd, TCSADRAIN, &raw);
}

static void size_changed(int signal_number unused_)
{
	int saved = errno;

	(void)!write(size_pipe[1], "", 1);
	errno = saved;
}

int terminal_watch_size(void)
{
	if (size_pipe[0] < 0 && pipe2(size_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	handle(SIGWINCH, size_changed);
	return size_pipe[0];
}

struct proto_size terminal_size(void)
{
	struct winsize ws = { 0 };

	if (ioctl(1, TIOCGWINSZ, &ws) < 0 || !ws.ws_row || !ws.ws_col)
		return (struct proto_size){ 24, 80 };
	return (struct proto_size){ ws.ws_row, ws.ws_col };
}
