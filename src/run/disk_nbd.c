/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Theory of operation
 *
 * One thread, one connection of QEMU's at a time: accept, connect to the server (the first
 * connection is there already, made when the run could still say what is wrong), copy both ways
 * until one side ends, close both. QEMU then comes again by itself for BLOCK_NBD_WAIT
 * seconds, in which the guest waits; later the guest gets errors, and each of its requests another
 * try.
 *
 * The thread shares nothing with the rest but the stop event, and is left alone, with what it uses,
 * where it waits for a name server when the run ends; it neither allocates by what a peer
 * says nor reads it. With TLS it copies what QEMU and the server encrypted.
 */

#include "run/disk_nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/socket.h"
#include "base/str.h"
#include "machine/block.h"
#include "run/disk_nbd_url.h"

enum {
	BUFFER = 256 * 1024,
	CA_MAX = 16 * 1024 * 1024,
	BACKLOG = 1,
	RETRY_MS = 10000,
	END_MS = 2000,
	STOP_S = 1
};

struct nbd_relay {
	char *text; /* the URL as given, for messages */
	struct nbd_url url;
	int listener;
	int server; /* connected, not served yet; -1: none */
	int stop; /* event: the thread ends */
	bool lost; /* and said so */
	bool runs;
	char *buffers; /* the thread's: BUFFER bytes each way */
	pthread_t thread;
	atomic_int users; /* the run and the thread: who leaves last frees it */
};

/* One direction. */
struct way {
	int from, to;
	size_t start, len; /* what is in the buffer */
	char *buffer;
};

static void leave(struct nbd_relay *relay)
{
	if (atomic_fetch_sub(&relay->users, 1) > 1)
		return;
	cleanup_close_(&relay->listener);
	cleanup_close_(&relay->server);
	cleanup_close_(&relay->stop);
	nbd_url_release(&relay->url);
	free(relay->text);
	free(relay->buffers);
	free(relay);
}

static void tell(const struct nbd_relay *relay, const char *what)
{
	auto_free char *line = str_format("NBD server '%s' %s\n", relay->text, what);

	/* no stdio: the main thread may fork while it is locked */
	(void)!write(STDERR_FILENO, line, strlen(line));
}

/* Return: 1 go on; 0 @way->from or @way->to ended. */
static int move(struct way *way, const struct pollfd *from, const struct pollfd *to)
{
	ssize_t n;

	if (way->len == 0 && from->revents) {
		n = recv(way->from, way->buffer, BUFFER, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return 0;
		way->start = 0;
		way->len = n < 0 ? 0 : (size_t)n;
	}
	if (way->len == 0 || (!to->revents && way->start))
		return 1;
	n = send(way->to, way->buffer + way->start, way->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	way->start += (size_t)n;
	way->len -= (size_t)n;
	return 1;
}

/* A server of which nothing is wanted now is not looked at: that it is gone would be told again and
 * again. */
static void want(struct pollfd p[3], const struct way *there, const struct way *back)
{
	p[0].events = (short)((there->len ? 0 : POLLIN) | (back->len ? POLLOUT : 0));
	p[1].events = (short)((back->len ? 0 : POLLIN) | (there->len ? POLLOUT : 0));
	p[1].fd = p[1].events ? back->from : -1;
}

/* QEMU is gone, and the server does not take the rest, to which nobody hears the answer. */
static bool is_stuck(const struct pollfd p[3], const struct way *there)
{
	return (p[0].revents & (POLLHUP | POLLERR)) && there->len && !p[1].revents;
}

/* Return: 1 the server ended; 0 QEMU did, or it is time to stop. */
static int copy(const struct nbd_relay *relay, int qemu, int server)
{
	struct way there = { .from = qemu, .to = server, .buffer = relay->buffers };
	struct way back = { .from = server, .to = qemu, .buffer = relay->buffers + BUFFER };
	struct pollfd p[3] = { { .fd = qemu }, { .fd = server }, { relay->stop, POLLIN, 0 } };
	char byte;

	for (;;) {
		want(p, &there, &back);
		if (poll(p, array_size(p), -1) < 0 && errno != EINTR)
			return 0;
		if (p[2].revents || is_stuck(p, &there))
			return 0;
		if (!move(&there, &p[0], &p[1]) || !move(&back, &p[1], &p[0]))
			break;
	}
	/* whichever was noticed: QEMU that is there still has lost its server */
	return !(recv(qemu, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0);
}

/* Return: a descriptor or -1. */
static int reach(struct nbd_relay *relay)
{
	struct error ignored = ERROR_INIT;
	int fd = take_fd(&relay->server);

	if (fd < 0)
		fd = nbd_connect(&relay->url, RETRY_MS, relay->stop, &ignored);
	if (fd >= 0 && relay->lost)
		tell(relay, "is back");
	if (fd >= 0)
		relay->lost = false;
	return fd;
}

/* A QEMU that does not start because of what the server said is no loss: then the run ends now. */
static bool run_ends(const struct nbd_relay *relay)
{
	struct pollfd p[2] = { { relay->listener, POLLIN, 0 }, { relay->stop, POLLIN, 0 } };

	(void)poll(p, array_size(p), END_MS);
	return p[1].revents;
}

static void serve(struct nbd_relay *relay, int qemu)
{
	auto_fd server = reach(relay);
	char line[128];

	if (server < 0 || !copy(relay, qemu, server) || relay->lost)
		return;
	/* QEMU is to notice meanwhile */
	(void)shutdown(qemu, SHUT_RDWR);
	if (run_ends(relay))
		return;
	relay->lost = true;
	(void)snprintf(line, sizeof(line),
		       "is lost: its disk waits for up to %d seconds, then fails", BLOCK_NBD_WAIT);
	tell(relay, line);
}

static void serve_all(struct nbd_relay *relay)
{
	struct pollfd p[2] = { { relay->listener, POLLIN, 0 }, { relay->stop, POLLIN, 0 } };

	for (;;) {
		auto_fd qemu = -1;

		if (poll(p, array_size(p), -1) < 0 && errno != EINTR)
			return;
		if (p[1].revents)
			return;
		qemu = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (qemu >= 0)
			serve(relay, qemu);
		else if (socket_must_rest(errno))
			(void)poll(&p[1], 1, SOCKET_REST_MS);
	}
}

static void *run_thread(void *arg)
{
	serve_all(arg);
	leave(arg);
	return NULL;
}

/* QEMU's user finds it by the directory's descriptor; to everybody else the home is closed. */
static int listen_in(int dir, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/nbd", dir);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    fchmodat(dir, "nbd", 0666, 0) < 0 || fchmod(dir, 0711) < 0 || listen(fd, BACKLOG) < 0)
		return error_errno(err, "cannot make a socket");
	return take_fd(&fd);
}

/* What the host trusts, or who says so by SSL_CERT_FILE, in a file that QEMU's user can read. */
static int give_authorities(int dir, struct error *err)
{
	const char *named = secure_getenv("SSL_CERT_FILE");
	auto_str text = STR_INIT;
	int r = fs_read_file(AT_FDCWD, named ? named : "/etc/ssl/certs/ca-certificates.crt", CA_MAX,
			     &text, err);

	if (r < 0)
		return error_wrap(err, "whom to trust for TLS is not known");
	return fs_replace_file(dir, "ca-cert.pem", text.ptr, text.len, 0644, err);
}

static int start(struct nbd_relay *relay, int dir, struct plan_nbd *nbd, struct error *err)
{
	int r = 0;

	relay->server = nbd_connect(&relay->url, NBD_TIMEOUT_MS, /* stop= */ -1, err);
	if (relay->server < 0)
		return error_wrap(err, "cannot reach NBD server '%s'", relay->text);
	relay->stop = eventfd(0, EFD_CLOEXEC);
	if (relay->stop < 0)
		return error_errno(err, "cannot make an event");
	relay->listener = listen_in(dir, err);
	if (relay->listener < 0)
		return relay->listener;
	if (relay->url.tls)
		r = give_authorities(dir, err);
	if (r < 0)
		return r;
	*nbd = (struct plan_nbd){ .dir = dir, .export = relay->url.export };
	if (relay->url.tls)
		nbd->tls_name = relay->url.host ? relay->url.host : "localhost";
	atomic_fetch_add(&relay->users, 1);
	r = process_start_thread(&relay->thread, run_thread, relay, err);
	relay->runs = r == 0;
	if (r < 0)
		atomic_fetch_sub(&relay->users, 1);
	return r;
}

int disk_nbd_start(const char *text, int dir, struct nbd_relay **relay, struct plan_nbd *nbd,
		   struct error *err)
{
	struct nbd_relay *r = xcalloc(1, sizeof(*r));

	*r = (struct nbd_relay){ .text = xstrdup(text), .listener = -1, .server = -1, .stop = -1 };
	atomic_init(&r->users, 1);
	r->buffers = xmalloc(2 * (size_t)BUFFER);
	*relay = r;
	if (nbd_url_parse(text, &r->url, err) < 0)
		return -err->code;
	return start(r, dir, nbd, err);
}

/* Return: has the thread ended? Only a name server keeps it from that for longer than a moment. */
static bool end_thread(struct nbd_relay *relay)
{
	struct timespec until;

	(void)eventfd_write(relay->stop, 1);
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_S;
	return pthread_timedjoin_np(relay->thread, NULL, &until) == 0;
}

void disk_nbd_stop(struct nbd_relay *relay)
{
	if (!relay)
		return;
	if (relay->runs && !end_thread(relay))
		(void)pthread_detach(relay->thread);
	leave(relay);
}
