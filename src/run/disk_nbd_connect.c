/* SPDX-License-Identifier: Apache-2.0 */

/* The connection to an NBD server. What it says first is looked at, and all else is QEMU's. */

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/error.h"
#include "run/disk_nbd.h"
#include "run/disk_nbd_url.h"

enum { PAUSE_MS = 10, MAGIC = 8 };

/* Until when, and what ends it before. */
struct limit {
	uint64_t deadline;
	int stop; /* an event; -1: none */
};

static int left_ms(uint64_t deadline)
{
	uint64_t now = clock_ms();

	return now >= deadline ? 0 : (int)(deadline - now);
}

/* Return: 0 or -errno. */
static int wait_for(int fd, short events, const struct limit *limit)
{
	struct pollfd p[] = { { fd, events, 0 }, { limit->stop, POLLIN, 0 } };
	int n = poll(p, array_size(p), left_ms(limit->deadline));

	if (n < 0 && errno != EINTR)
		return -errno;
	if (n > 0 && p[1].revents)
		return -ECANCELED;
	return n == 0 ? -ETIMEDOUT : 0;
}

/* Return: 0 or -errno. */
static int finish_connect(int fd, const struct limit *limit)
{
	int problem = 0, r = wait_for(fd, POLLOUT, limit);
	socklen_t len = sizeof(problem);

	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &len) < 0)
		return -errno;
	return -problem;
}

/* A server that vanishes without a word is found out as one that ends. */
static void set_options(int fd)
{
	int on = 1, idle = 10, unsent = NBD_TIMEOUT_MS;

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unsent, sizeof(unsent));
}

/* Return: fd or -errno. */
static int connect_to(const struct sockaddr *address, socklen_t len, const struct limit *limit)
{
	auto_fd fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (address->sa_family != AF_UNIX)
		set_options(fd);
	if (connect(fd, address, len) < 0)
		r = errno == EINPROGRESS ? finish_connect(fd, limit) : -errno;
	return r < 0 ? r : take_fd(&fd);
}

static int connect_socket(const struct nbd_url *url, const struct limit *limit)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	_Static_assert(NBD_SOCKET_MAX < sizeof(address.sun_path), "with its NUL");
	(void)memcpy(address.sun_path, url->socket, strlen(url->socket));
	return connect_to((const struct sockaddr *)&address, sizeof(address), limit);
}

static int connect_host(const struct nbd_url *url, const struct limit *limit, struct error *err)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int r = getaddrinfo(url->host, url->port, &hints, &list);

	if (r != 0)
		return error_set(err, E_FAILED, "%s", gai_strerror(r));
	r = -ETIMEDOUT;
	for (const struct addrinfo *a = list; a && r < 0 && r != -ECANCELED; a = a->ai_next)
		r = connect_to(a->ai_addr, a->ai_addrlen, limit);
	freeaddrinfo(list);
	return r;
}

/* All servers speak first (doc/proto.md). */
static int check_magic(int fd, const struct limit *limit, struct error *err)
{
	char magic[MAGIC];
	ssize_t n = 0;

	for (;;) {
		int r = wait_for(fd, POLLIN, limit);

		if (r < 0)
			return error_set(err, E_FAILED, "the server does not answer");
		n = recv(fd, magic, sizeof(magic), MSG_PEEK | MSG_DONTWAIT);
		if (n <= 0 || n == MAGIC)
			break;
		if (left_ms(limit->deadline) == 0)
			return error_set(err, E_FAILED, "the server does not answer");
		clock_sleep_ms(PAUSE_MS); /* what is there already would wake poll() again */
	}
	if (n <= 0)
		return error_set(err, E_FAILED, "the server closed the connection");
	if (memcmp(magic, "NBDMAGIC", MAGIC) != 0)
		return error_set(err, E_FAILED, "the server does not speak NBD");
	return 0;
}

int nbd_connect(const struct nbd_url *url, unsigned timeout_ms, int stop, struct error *err)
{
	const struct limit limit = { clock_ms() + timeout_ms, stop };
	auto_fd fd = url->socket ? connect_socket(url, &limit) : connect_host(url, &limit, err);
	int r;

	if (fd == -E_FAILED)
		return -E_FAILED;
	if (fd < 0)
		return error_set(err, E_FAILED, "%s", strerror(-fd));
	r = check_magic(fd, &limit, err);
	return r < 0 ? r : take_fd(&fd);
}
