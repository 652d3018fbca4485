/* SPDX-License-Identifier: Apache-2.0 */
#include "net/outside.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/socket.h"
#include "net/resolvers.h"

enum { SOCK_FD = 3 };

struct request {
	int32_t type; /* SOCK_DGRAM or SOCK_STREAM */
	uint32_t number;
};

static noreturn_ void live(int sock)
{
	struct request request;
	struct error ignored = ERROR_INIT;

	(void)prctl(PR_SET_NAME, "linzer-outside");
	/* `run` shall see its socket close when the keeper ends */
	if (dup2(sock, SOCK_FD) < 0 || close_range(SOCK_FD + 1, ~0U, 0) < 0)
		_exit(1);
	while (recv(SOCK_FD, &request, sizeof(request), 0) == (ssize_t)sizeof(request))
		if (resolvers_hand_out(SOCK_FD, -1, request.type, request.number, &ignored) < 0)
			break;
	_exit(0);
}

int outside_start(struct error *err)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, "cannot make a socket pair");
	pid = fork();
	if (pid == 0)
		live(pair[1]);
	(void)close(pair[1]);
	if (pid > 0)
		return pair[0];
	error_errno(err, "cannot fork");
	(void)close(pair[0]);
	return -err->code;
}

int outside_connect(int outside, int type, unsigned number)
{
	const struct request request = { type, number };
	uint8_t given = 0;
	auto_fd fd = -1;

	if (socket_send(outside, &request, sizeof(request), -1, 0) < 0 ||
	    socket_receive(outside, &given, sizeof(given), &fd, 0) != 1 || !given)
		return -1;
	return take_fd(&fd);
}
