/* SPDX-License-Identifier: Apache-2.0 */
#include "run/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "store/vm.h"

static const char log_name[] = "console.log";
static const char old_log_name[] = "console.log.1";

/* @how: O_TRUNC, or 0 to go on with what is there. */
static int open_log(struct console *console, int how, struct error *err)
{
	struct stat st;

	console->log = fs_open(console->dir, log_name,
			       O_WRONLY | O_CREAT | how | O_APPEND | O_NOFOLLOW, err);
	if (console->log < 0)
		return console->log;
	if (fstat(console->log, &st) < 0)
		return error_errno(err, "cannot look at '%s'", log_name);
	console->logged = (size_t)st.st_size;
	return 0;
}

static void log_bytes(struct console *console, const char *bytes, size_t n)
{
	struct error ignored = ERROR_INIT;

	if (console->log >= 0 && console->logged + n > CONSOLE_LOG_MAX) {
		(void)close(take_fd(&console->log));
		(void)renameat(console->dir, log_name, console->dir, old_log_name);
		if (open_log(console, O_TRUNC, &ignored) < 0)
			console->log = -1;
	}
	/* a full disk costs the log, not the VM */
	if (console->log >= 0 && fs_write_all(console->log, bytes, n, &ignored) == 0)
		console->logged += n;
}

static void make_raw(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return;
	cfmakeraw(&t);
	(void)cfsetspeed(&t, B115200);
	(void)tcsetattr(fd, TCSANOW, &t);
}

static int open_pty(struct console *console, struct error *err)
{
	char name[64];

	console->terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (console->terminal < 0 || grantpt(console->terminal) < 0 ||
	    unlockpt(console->terminal) < 0 ||
	    ptsname_r(console->terminal, name, sizeof(name)) != 0)
		return error_errno(err, "Failed to open PTY");
	console->terminal_peer = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (console->terminal_peer < 0)
		return error_errno(err, "Failed to open PTY");
	make_raw(console->terminal_peer);
	(void)printf("Successfully open pty %s\n", name);
	return 0;
}

static int open_terminal(struct console *console, const char *path, struct error *err)
{
	console->terminal = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (console->terminal < 0)
		return error_set(err, E_FAILED, "Failed to open PTY");
	make_raw(console->terminal);
	return 0;
}

int console_open(struct console *console, const struct vm *vm, bool goes_on, bool serial,
		 const char *serial_path, struct error *err)
{
	int r;

	console->dir = vm->dir;
	if (!goes_on)
		(void)unlinkat(vm->dir, old_log_name, 0);
	r = open_log(console, goes_on ? 0 : O_TRUNC, err);
	if (r < 0)
		return r;
	if (serial_path)
		return open_terminal(console, serial_path, err);
	return serial ? open_pty(console, err) : 0;
}

static void on_guest(uv_poll_t *poll, int status, int events)
{
	struct console *console = poll->data;
	char buffer[16384];
	ssize_t n;

	(void)events;
	n = status < 0 ? 0 : read(console->guest, buffer, sizeof(buffer));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		(void)uv_poll_stop(poll);
		return;
	}
	log_bytes(console, buffer, (size_t)n);
	if (console->terminal >= 0)
		(void)!write(console->terminal, buffer, (size_t)n);
}

static void on_terminal(uv_poll_t *poll, int status, int events)
{
	struct console *console = poll->data;
	char buffer[1024];
	ssize_t n;

	(void)events;
	n = status < 0 ? 0 : read(console->terminal, buffer, sizeof(buffer));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		(void)uv_poll_stop(poll);
		return;
	}
	(void)!write(console->guest, buffer, (size_t)n);
}

int console_start(struct console *console, uv_loop_t *loop, int guest, struct error *err)
{
	console->guest = guest;
	console->guest_poll.data = console;
	console->terminal_poll.data = console;
	if (uv_poll_init(loop, &console->guest_poll, guest) != 0 ||
	    uv_poll_start(&console->guest_poll, UV_READABLE, on_guest) != 0)
		return error_set(err, E_FAILED, "cannot watch the console");
	/* what is no terminal (a regular file) cannot be watched and only gets the output */
	if (console->terminal >= 0 &&
	    uv_poll_init(loop, &console->terminal_poll, console->terminal) == 0)
		(void)uv_poll_start(&console->terminal_poll, UV_READABLE, on_terminal);
	return 0;
}

void console_release(struct console *console)
{
	cleanup_close_(&console->guest);
	cleanup_close_(&console->terminal);
	cleanup_close_(&console->terminal_peer);
	cleanup_close_(&console->log);
}
