/* SPDX-License-Identifier: Apache-2.0 */
#include "store/manage.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/socket.h"
#include "base/str.h"
#include "store/vm.h"

enum { LISTEN_BACKLOG = 128 };
static const char socket_name[] = "manage.sock";

/* The VM's path may be longer than sun_path: go by the directory's descriptor. */
static int make_address(const struct vm *vm, const char *name, struct sockaddr_un *address,
			struct error *err)
{
	int n;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s", vm->dir,
		     name);
	if (n < 0 || (size_t)n >= sizeof(address->sun_path))
		return error_set(err, E_FAILED, "'%s' is too long for a socket", name);
	return 0;
}

int vm_socket_listen(const struct vm *vm, const char *name, struct error *err)
{
	struct sockaddr_un address;
	auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = make_address(vm, name, &address, err);

	if (r < 0)
		return r;
	if (fd < 0 || fchmod(fd, 0600) < 0) /* bind() gives the name the socket's mode */
		return error_errno(err, "cannot make the socket '%s'", name);
	(void)unlinkat(vm->dir, name, 0);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, LISTEN_BACKLOG) < 0)
		return error_errno(err, "cannot listen on '%s'", name);
	return take_fd(&fd);
}

int vm_socket_connect(const struct vm *vm, const char *name, struct error *err)
{
	struct sockaddr_un address;
	auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = make_address(vm, name, &address, err);

	if (r < 0)
		return r;
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return error_errno(err, "cannot connect to '%s'", name);
	return take_fd(&fd);
}

int manage_listen(const struct vm *vm, struct error *err)
{
	return vm_socket_listen(vm, socket_name, err);
}

/* Wait until @fd is ready for @events. Return: 0 or error. */
static int wait_ready(int fd, short events, uint64_t deadline, struct error *err)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		uint64_t now = clock_ms();
		int n;

		if (now >= deadline)
			return error_set(err, ETIMEDOUT, "no answer in time");
		n = poll(&p, 1, (int)(deadline - now));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return error_errno(err, "cannot wait");
	}
}

/* A `run` answers whatever it is asked: one that does not has ended. */
static int hung_up(struct error *err)
{
	return error_set(err, E_NOT_RUNNING, "it hung up");
}

/* A request is short: it goes in one piece, and the lock with it. */
static int send_request(int fd, const char *request, int lock, uint64_t deadline, struct error *err)
{
	auto_free char *text = str_format("%s\n", request);
	size_t len = strlen(text);

	for (;;) {
		ssize_t n;
		int r = wait_ready(fd, POLLOUT, deadline, err);

		if (r < 0)
			return r;
		n = socket_send(fd, text, len, lock, MSG_DONTWAIT);
		if (n == (ssize_t)len)
			return 0;
		if (n == -EPIPE || n == -ECONNRESET)
			return hung_up(err);
		if (n != -EINTR && n != -EAGAIN)
			return error_set(err, n < 0 ? (int)-n : E_PROTOCOL, "cannot send");
	}
}

/* Read up to the end of a line, which is all there is; *fd: see socket_receive(). */
static int receive_line(int fd, struct str *line, int *received, uint64_t deadline,
			struct error *err)
{
	for (;;) {
		char bytes[512];
		ssize_t n;
		int r = wait_ready(fd, POLLIN, deadline, err);

		if (r < 0)
			return r;
		n = socket_receive(fd, bytes, sizeof(bytes), received, MSG_DONTWAIT);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n == 0 || n == -ECONNRESET)
			return hung_up(err);
		if (n < 0)
			return error_set(err, (int)-n, "cannot receive");
		str_add(line, bytes, (size_t)n);
		if (line->len > MANAGE_LINE_MAX)
			return error_set(err, E_PROTOCOL, "the line is too long");
		if (line->ptr[line->len - 1] == '\n') {
			str_chop(line, 1);
			return 0;
		}
	}
}

static int exchange(int fd, const char *request, int lock, unsigned timeout_ms, struct error *err)
{
	auto_str line = STR_INIT;
	auto_fd unwanted = -1;
	uint64_t deadline = clock_ms() + timeout_ms;
	int r = send_request(fd, request, lock, deadline, err);

	if (r == 0)
		r = receive_line(fd, &line, &unwanted, deadline, err);
	if (r < 0)
		return r;
	if (strcmp(line.ptr, "ok") == 0)
		return 0;
	if (str_starts(line.ptr, "error "))
		return error_set(err, E_FAILED, "%s", line.ptr + strlen("error "));
	return error_set(err, E_PROTOCOL, "the answer is malformed");
}

int manage_receive(const struct vm *vm, int client, unsigned timeout_ms, struct str *request,
		   int *lock, struct error *err)
{
	auto_fd received = -1;
	int r = receive_line(client, request, &received, clock_ms() + timeout_ms, err);

	if (r == 0 && !vm_is_lock(vm, received))
		r = error_set(err, E_PROTOCOL, "the asker does not hold the VM's lock");
	if (r == 0)
		*lock = take_fd(&received);
	return r;
}

int manage_request(const struct vm *vm, const char *request, int lock, unsigned timeout_ms,
		   struct error *err)
{
	auto_fd fd = vm_socket_connect(vm, socket_name, err);
	int r;

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return error_set(err, E_NOT_RUNNING, "VM \"%s\" is not running", vm->name);
	if (fd < 0)
		return fd;
	r = exchange(fd, request, lock, timeout_ms, err);
	return r < 0 ? error_wrap(err, "VM \"%s\" cannot %s", vm->name, request) : 0;
}
