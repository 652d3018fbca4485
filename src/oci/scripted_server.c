/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/scripted_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

enum { HEAD_MAX = 64 * 1024 };

struct server {
	int listening, port;
	pthread_t thread;
	const struct server_step *steps;
	size_t count, done;
	bool ends; /* set by the test's thread */
};

static char complaint[2048]; /* the first thing that differed */

static void complain(const struct server *server, const char *what, const char *wanted,
		     const char *got)
{
	if (!complaint[0])
		(void)snprintf(complaint, sizeof(complaint), "request %zu: %s '%s': %s",
			       server->done, what, wanted, got);
}

/* @text with "$PORT" replaced; owned by the caller. */
static char *expand(const struct server *server, const char *text)
{
	auto_str out = STR_INIT;
	const char *at;

	while ((at = strstr(text, "$PORT"))) {
		str_add(&out, text, (size_t)(at - text));
		str_addf(&out, "%d", server->port);
		text = at + strlen("$PORT");
	}
	str_adds(&out, text);
	return str_detach(&out);
}

static bool ends(struct server *server)
{
	return __atomic_load_n(&server->ends, __ATOMIC_RELAXED);
}

static bool read_head(int fd, struct str *head)
{
	while (head->len < HEAD_MAX && !str_ends(head->ptr, "\r\n\r\n")) {
		char c;

		if (recv(fd, &c, 1, 0) != 1)
			return false;
		str_addc(head, c);
	}
	return true;
}

static void read_body(int fd, const char *head, struct str *body)
{
	const char *line = strcasestr(head, "\r\nContent-Length: ");
	size_t len = line ? strtoul(line + strlen("\r\nContent-Length: "), NULL, 10) : 0;

	str_grow(body, len);
	while (body->len < len) {
		ssize_t n = recv(fd, body->ptr + body->len, len - body->len, 0);

		if (n <= 0)
			return;
		str_set_len(body, body->len + (size_t)n);
	}
}

static void check(struct server *server, const struct server_step *step, const struct str *head,
		  const struct str *body)
{
	auto_free char *begins = expand(server, step->begins);
	auto_free char *holds = step->holds ? expand(server, step->holds) : NULL;

	if (!str_starts(head->ptr, begins))
		complain(server, "does not begin with", begins, head->ptr);
	if (holds && !strstr(head->ptr, holds))
		complain(server, "does not hold", holds, head->ptr);
	if (step->lacks && strstr(head->ptr, step->lacks))
		complain(server, "holds", step->lacks, head->ptr);
	if (step->sent && strcmp(step->sent, body->ptr) != 0)
		complain(server, "does not send", step->sent, body->ptr);
}

static bool send_all(int fd, const void *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		bytes = (const char *)bytes + n;
		len -= (size_t)n;
	}
	return true;
}

/* Until then, or until the peer has gone. */
static void wait_ms(struct server *server, int fd, unsigned ms)
{
	struct pollfd peer = { .fd = fd, .events = POLLRDHUP };
	uint64_t until = clock_ms() + ms;

	while (!ends(server) && clock_ms() < until && poll(&peer, 1, 10) == 0)
		;
}

static void answer(struct server *server, const struct server_step *step, int fd)
{
	auto_free char *reply = expand(server, step->reply);
	bool ok = send_all(fd, reply, strlen(reply));

	if (!step->trickle_ms)
		ok = ok && send_all(fd, step->body, step->body_len);
	for (size_t i = 0; ok && step->trickle_ms && i < step->body_len && !ends(server); i++) {
		ok = send_all(fd, (const char *)step->body + i, 1);
		wait_ms(server, fd, step->trickle_ms);
	}
	wait_ms(server, fd, step->hold_ms);
}

static void *serve(void *arg)
{
	struct server *server = arg;

	for (;;) {
		auto_fd fd = accept(server->listening, NULL, NULL);
		auto_str head = STR_INIT, body = STR_INIT;

		if (fd < 0)
			return NULL;
		if (!read_head(fd, &head))
			continue;
		read_body(fd, head.ptr, &body);
		if (server->done == server->count) {
			complain(server, "comes after the end of the script", "", head.ptr);
			continue;
		}
		check(server, &server->steps[server->done], &head, &body);
		answer(server, &server->steps[server->done++], fd);
	}
}

struct server *server_start(const struct server_step *steps, size_t count)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	struct server *server = xcalloc(1, sizeof(*server));

	complaint[0] = '\0';
	server->steps = steps;
	server->count = count;
	server->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(server->listening, (struct sockaddr *)&address, len) < 0 ||
	    getsockname(server->listening, (struct sockaddr *)&address, &len) < 0 ||
	    listen(server->listening, 16) < 0)
		abort();
	server->port = ntohs(address.sin_port);
	if (pthread_create(&server->thread, NULL, serve, server) != 0)
		abort();
	return server;
}

int server_port(const struct server *server)
{
	return server->port;
}

const char *server_end(struct server *server)
{
	__atomic_store_n(&server->ends, true, __ATOMIC_RELAXED);
	(void)shutdown(server->listening, SHUT_RDWR);
	(void)pthread_join(server->thread, NULL);
	if (server->done < server->count)
		complain(server, "never came", server->steps[server->done].begins, "");
	(void)close(server->listening);
	free(server);
	return complaint;
}
