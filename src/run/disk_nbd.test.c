/* SPDX-License-Identifier: Apache-2.0 */
#include "run/disk_nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/scratch.h"
#include "base/str.h"
#include "run/disk_nbd_url.h"

enum { CONNECTIONS = 2, LIMIT_MS = 20000, PIECE = 64 * 1024, HOURS_MS = 10 * 3600 * 1000 };
static const char magic[] = "NBDMAGIC";

/* Says what a server says first, and then takes nothing. */
struct server {
	int listener;
	int taken[CONNECTIONS];
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *server = arg;

	for (size_t i = 0; i < CONNECTIONS; i++) {
		server->taken[i] = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
		if (server->taken[i] < 0)
			break;
		(void)!write(server->taken[i], magic, strlen(magic));
	}
	return NULL;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	assert_true(strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	return address;
}

static void start_server(struct server *server, const struct sockaddr *address, socklen_t len)
{
	*server = (struct server){ .taken = { -1, -1 } };
	server->listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->listener, address, len), 0);
	assert_int_equal(listen(server->listener, CONNECTIONS), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void end_server(struct server *server)
{
	(void)shutdown(server->listener, SHUT_RDWR); /* wakes the thread */
	assert_int_equal(pthread_join(server->thread, NULL), 0);
	for (size_t i = 0; i < CONNECTIONS; i++)
		cleanup_close_(&server->taken[i]);
	(void)close(server->listener);
}

/* As QEMU: connect to the relay and hear the server's first word. */
static int connect_and_hear(const char *path)
{
	const struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char word[sizeof(magic)] = "";

	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
	assert_int_equal(recv(fd, word, strlen(magic), MSG_WAITALL), strlen(magic));
	assert_string_equal(word, magic);
	return fd;
}

/* Until nobody has taken any for a while. */
static void fill(int fd)
{
	static const char bytes[PIECE];
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	while (poll(&p, 1, 500) == 1)
		assert_true(send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ||
			    errno == EAGAIN);
}

static void a_server_that_takes_nothing_is_given_up_with_its_qemu(void **state)
{
	struct scratch scratch;
	struct error err = ERROR_INIT;
	struct nbd_relay *relay = NULL;
	struct plan_nbd nbd;
	struct server server;

	(void)state;
	assert_int_equal(scratch_open(&scratch, scratch_place()), 0);
	auto_free char *socket_path = str_format("%s/server", scratch.path);
	auto_free char *url = str_format("nbd+unix:///?socket=%s", socket_path);
	auto_free char *relay_path = str_format("%s/dir/nbd", scratch.path);
	const struct sockaddr_un server_address = address_of(socket_path);

	assert_int_equal(mkdirat(scratch.lock, "dir", 0700), 0);
	auto_fd dir = openat(scratch.lock, "dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	start_server(&server, (const struct sockaddr *)&server_address, sizeof(server_address));
	assert_int_equal(disk_nbd_start(url, dir, &relay, &nbd, &err), 0);
	int qemu = connect_and_hear(relay_path);

	fill(qemu);
	(void)close(qemu);
	/* the next one gets a connection of its own */
	(void)close(connect_and_hear(relay_path));
	disk_nbd_stop(relay);
	end_server(&server);
	assert_int_equal(scratch_close(&scratch), 0);
}

/* A server that says nothing would be waited for much longer than a test may take. */
static void a_connection_that_hangs_is_stopped(void **state)
{
	struct scratch scratch;
	struct error err = ERROR_INIT;
	struct nbd_url url = { 0 };

	(void)state;
	assert_int_equal(scratch_open(&scratch, scratch_place()), 0);
	auto_free char *path = str_format("%s/server", scratch.path);
	auto_free char *text = str_format("nbd+unix:///?socket=%s", path);
	const struct sockaddr_un address = address_of(path);
	auto_fd server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_fd stop = eventfd(1, EFD_CLOEXEC);

	assert_int_equal(bind(server, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(server, 1), 0);
	assert_int_equal(nbd_url_parse(text, &url, &err), 0);
	assert_int_equal(nbd_connect(&url, HOURS_MS, stop, &err), -E_FAILED);
	nbd_url_release(&url);
	assert_int_equal(scratch_close(&scratch), 0);
}

/* A name server that answers once and then lets wait; this takes the place of the C library's. */
/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): its names are reserved */
static struct {
	int asked;
	int begun[2], end[2]; /* pipes: the second question is there; it may return */
	struct sockaddr_in address;
} names;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
		struct addrinfo **list)
{
	char byte = 0;

	(void)name;
	(void)service;
	(void)hints;
	if (names.asked++ == 0) {
		*list = xcalloc(1, sizeof(**list));
		(*list)->ai_addr = (struct sockaddr *)&names.address;
		(*list)->ai_addrlen = sizeof(names.address);
		return 0;
	}
	(void)!write(names.begun[1], &byte, 1);
	(void)!read(names.end[0], &byte, 1);
	return EAI_AGAIN;
}

void freeaddrinfo(struct addrinfo *list)
{
	free(list);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

/* Where the names lead to. */
static void start_tcp_server(struct server *server)
{
	socklen_t len = sizeof(names.address);

	names.address = (struct sockaddr_in){ .sin_family = AF_INET,
					      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	start_server(server, (const struct sockaddr *)&names.address, len);
	assert_int_equal(getsockname(server->listener, (struct sockaddr *)&names.address, &len), 0);
}

/* It hangs until the test has seen disk_nbd_stop() return. */
static void a_name_server_that_hangs_does_not_hold_up_the_end(void **state)
{
	struct scratch scratch;
	struct error err = ERROR_INIT;
	struct nbd_relay *relay = NULL;
	struct plan_nbd nbd;
	struct server server;
	char byte = 0;

	(void)state;
	(void)alarm(LIMIT_MS / 1000);
	assert_int_equal(pipe2(names.begun, O_CLOEXEC), 0);
	assert_int_equal(pipe2(names.end, O_CLOEXEC), 0);
	assert_int_equal(scratch_open(&scratch, scratch_place()), 0);
	auto_free char *relay_path = str_format("%s/dir/nbd", scratch.path);

	assert_int_equal(mkdirat(scratch.lock, "dir", 0700), 0);
	auto_fd dir = openat(scratch.lock, "dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct sockaddr_un address = address_of(relay_path);

	start_tcp_server(&server);
	assert_int_equal(disk_nbd_start("nbd://server.test", dir, &relay, &nbd, &err), 0);
	(void)close(connect_and_hear(relay_path));
	auto_fd qemu = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(qemu, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(read(names.begun[0], &byte, 1), 1);
	disk_nbd_stop(relay);
	(void)alarm(0);
	assert_int_equal(write(names.end[1], &byte, 1), 1);
	end_server(&server);
	assert_int_equal(scratch_close(&scratch), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_that_takes_nothing_is_given_up_with_its_qemu),
		cmocka_unit_test(a_connection_that_hangs_is_stopped),
		cmocka_unit_test(a_name_server_that_hangs_does_not_hold_up_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
