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

static int left_ms(uint64_t deadline)
{
	uint64_t now = clock_ms();

	return now >= deadline ? 0 : (int)(deadline - now);
}

/* Return: 0 or -errno. */
static int wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n = poll(&p, 1, left_ms(deadline));

	if (n < 0 && errno != EINTR)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

/* Return: 0 or -errno. */
static int finish_connect(int fd, uint64_t deadline)
{
	int problem = 0, r = wait_for(fd, POLLOUT, deadline);
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
static int connect_to(const struct sockaddr *address, socklen_t len, uint64_t deadline)
{
	auto_fd fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (address->sa_family != AF_UNIX)
		set_options(fd);
	if (connect(fd, address, len) < 0)
		r = errno == EINPROGRESS ? finish_connect(fd, deadline) : -errno;
	return r < 0 ? r : take_fd(&fd);
}

static int connect_socket(const struct nbd_url *url, uint64_t deadline)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	_Static_assert(NBD_SOCKET_MAX < sizeof(address.sun_path), "with its NUL");
	(void)memcpy(address.sun_path, url->socket, strlen(url->socket));
	return connect_to((const struct sockaddr *)&address, sizeof(address), deadline);
}

static int connect_host(const struct nbd_url *url, uint64_t deadline, struct error *err)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int r = getaddrinfo(url->host, url->port, &hints, &list);

	if (r != 0)
		return error_set(err, E_FAILED, "%s", gai_strerror(r));
	r = -ETIMEDOUT;
	for (const struct addrinfo *a = list; a && r < 0; a = a->ai_next)
		r = connect_to(a->ai_addr, a->ai_addrlen, deadline);
	freeaddrinfo(list);
	return r;
}

/* All servers speak first (doc/proto.md). */
static int check_magic(int fd, uint64_t deadline, struct error *err)
{
	char magic[MAGIC];
	ssize_t n = 0;

	for (;;) {
		int r = wait_for(fd, POLLIN, deadline);

		if (r < 0)
			return error_set(err, E_FAILED, "the server does not answer");
		n = recv(fd, magic, sizeof(magic), MSG_PEEK | MSG_DONTWAIT);
		if (n <= 0 || n == MAGIC)
			break;
		if (left_ms(deadline) == 0)
			return error_set(err, E_FAILED, "the server does not answer");
		clock_sleep_ms(PAUSE_MS); /* what is there already would wake poll() again */
	}
	if (n <= 0)
		return error_set(err, E_FAILED, "the server closed the connection");
	if (memcmp(magic, "NBDMAGIC", MAGIC) != 0)
		return error_set(err, E_FAILED, "the server does not speak NBD");
	return 0;
}

int nbd_connect(const struct nbd_url *url, unsigned timeout_ms, struct error *err)
{
	uint64_t deadline = clock_ms() + timeout_ms;
	auto_fd fd = url->socket ? connect_socket(url, deadline) : connect_host(url, deadline, err);
	int r;

	if (fd == -E_FAILED)
		return -E_FAILED;
	if (fd < 0)
		return error_set(err, E_FAILED, "%s", strerror(-fd));
	r = check_magic(fd, deadline, err);
	return r < 0 ? r : take_fd(&fd);
}
