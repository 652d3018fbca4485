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

/* The lock goes with the first piece. */
static int send_request(int fd, const char *request, int lock, uint64_t deadline, struct error *err)
{
	auto_free char *text = str_format("%s\n", request);
	size_t len = strlen(text), sent = 0;

	while (sent < len) {
		ssize_t n;
		int r = wait_ready(fd, POLLOUT, deadline, err);

		if (r < 0)
			return r;
		n = socket_send(fd, text + sent, len - sent, sent ? -1 : lock, MSG_DONTWAIT);
		if (n == -EPIPE || n == -ECONNRESET)
			return hung_up(err);
		if (n < 0 && n != -EINTR && n != -EAGAIN)
			return error_set(err, (int)-n, "cannot send");
		if (n > 0)
			sent += (size_t)n;
	}
	return 0;
}

/*
 * One piece of a line, which is all there is; *fd: see socket_receive(). Return: 1 it is whole; 0
 * it is not, or nothing is there; or error.
 */
static int receive_piece(int fd, struct str *line, size_t max, int *received, struct error *err)
{
	char bytes[16384];
	ssize_t n = socket_receive(fd, bytes, sizeof(bytes), received, MSG_DONTWAIT);

	if (n == -EINTR || n == -EAGAIN)
		return 0;
	if (n == 0 || n == -ECONNRESET)
		return hung_up(err);
	if (n < 0)
		return error_set(err, (int)-n, "cannot receive");
	str_add(line, bytes, (size_t)n);
	if (line->len > max)
		return error_set(err, E_PROTOCOL, "the line is too long");
	if (line->ptr[line->len - 1] != '\n')
		return 0;
	str_chop(line, 1);
	return 1;
}

static int receive_answer(int fd, struct str *line, uint64_t deadline, struct error *err)
{
	auto_fd unwanted = -1;
	int r = 0;

	while (r == 0) {
		r = wait_ready(fd, POLLIN, deadline, err);
		if (r == 0)
			r = receive_piece(fd, line, MANAGE_ANSWER_MAX, &unwanted, err);
	}
	return r < 0 ? r : 0;
}

static int not_running(const struct vm *vm, struct error *err)
{
	return error_set(err, E_NOT_RUNNING, "VM \"%s\" is not running", vm->name);
}

static int connect_to_run(const struct vm *vm, struct error *err)
{
	int fd = vm_socket_connect(vm, socket_name, err);

	return fd == -ENOENT || fd == -ECONNREFUSED ? not_running(vm, err) : fd;
}

/* Send, receive, and make an error of an error. */
static int exchange(int fd, const char *request, int lock, unsigned timeout_ms, struct str *answer,
		    struct error *err)
{
	uint64_t deadline = clock_ms() + timeout_ms;
	int r = send_request(fd, request, lock, deadline, err);

	if (r == 0)
		r = receive_answer(fd, answer, deadline, err);
	if (r == 0 && str_starts(answer->ptr, "error "))
		r = error_set(err, E_FAILED, "%s", answer->ptr + strlen("error "));
	return r;
}

int manage_request(const struct vm *vm, const char *request, int lock, unsigned timeout_ms,
		   struct error *err)
{
	auto_str answer = STR_INIT;
	auto_fd fd = connect_to_run(vm, err);
	int r;

	if (fd < 0)
		return fd;
	r = exchange(fd, request, lock, timeout_ms, &answer, err);
	if (r == 0 && strcmp(answer.ptr, "ok") != 0)
		r = error_set(err, E_PROTOCOL, "the answer is malformed");
	return r < 0 ? error_wrap(err, "VM \"%s\" cannot %s", vm->name, request) : 0;
}

int manage_ask(const struct vm *vm, const char *request, unsigned timeout_ms, struct str *answer,
	       struct error *err)
{
	auto_fd fd = -1;
	int r;

	if (strlen(request) >= MANAGE_REQUEST_MAX)
		return error_set(err, E_TOO_BIG, "more than %d bytes for one request",
				 MANAGE_REQUEST_MAX);
	fd = connect_to_run(vm, err);
	if (fd < 0)
		return fd;
	r = exchange(fd, request, -1, timeout_ms, answer, err);
	return r == -E_NOT_RUNNING ? not_running(vm, err) : r;
}

void manage_input_release(struct manage_input *input)
{
	str_release(&input->line);
	if (input->lock >= 0)
		(void)close(take_fd(&input->lock));
}

int manage_read(int client, struct manage_input *input, struct error *err)
{
	return receive_piece(client, &input->line, MANAGE_REQUEST_MAX, &input->lock, err);
}

int manage_check_lock(const struct vm *vm, const struct manage_input *input, struct error *err)
{
	if (vm_is_lock(vm, input->lock))
		return 0;
	return error_set(err, E_PROTOCOL, "the asker does not hold the VM's lock");
}
