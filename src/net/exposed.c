/* SPDX-License-Identifier: Apache-2.0 */
#include "net/exposed.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

enum { BACKLOG = 128, PATIENCE_MS = 1000, PAUSE_MS = 10 };

static int listen_on(uint16_t port, struct error *err)
{
	const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	const int on = 1;
	auto_fd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* a connection of the last VM that is in TIME_WAIT does not hold the port */
	/* KEEPALIVE goes to what is accepted: a client that vanished gives its place back */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0)
		return error_errno(err, "cannot make a socket");
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return error_errno(err, "cannot expose port %u of the host", port);
	return take_fd(&fd);
}

/* The talker of a keeper that was killed a moment ago has its port until it has ended, too. */
static int listen_until(uint64_t deadline, uint16_t port, struct error *err)
{
	int fd;

	while ((fd = listen_on(port, err)) == -EADDRINUSE && clock_ms() < deadline) {
		*err = (struct error)ERROR_INIT;
		clock_sleep_ms(PAUSE_MS);
	}
	return fd;
}

int exposed_listen(const struct net_exposed *exposed, unsigned count, int *fds, struct error *err)
{
	uint64_t deadline = clock_ms() + PATIENCE_MS;

	for (unsigned i = 0; i < count; i++) {
		fds[i] = listen_until(deadline, exposed[i].host, err);
		if (fds[i] >= 0)
			continue;
		while (i-- > 0)
			(void)close(fds[i]);
		return -err->code;
	}
	return 0;
}
