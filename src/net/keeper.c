/* SPDX-License-Identifier: Apache-2.0 */
#include "net/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "base/error.h"
#include "net/message.h"
#include "net/network.h"
#include "net/privilege.h"
#include "net/resolvers.h"
#include "net/talker.h"

struct keeper {
	int run;
	int signals;
	int talker; /* socket to it */
	struct network net;
};

/* The descriptor is a seqpacket socket, made by the user who started us. */
static int check_caller(int run, struct error *err)
{
	struct ucred peer;
	socklen_t len = sizeof(int);
	int type = 0, domain = 0;

	if (getsockopt(run, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    getsockopt(run, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX ||
	    type != SOCK_SEQPACKET)
		return error_set(err, E_PROTOCOL, "linzer-net is started by 'linzer run'");
	len = sizeof(peer);
	if (getsockopt(run, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return error_errno(err, "cannot see who calls");
	if (peer.uid != getuid())
		return error_set(err, EPERM, "linzer-net serves the user who started it only");
	return 0;
}

static int open_signals(struct error *err)
{
	sigset_t set;
	int fd;

	/* whatever the caller left to us; ignored, it would hide how nft ended */
	(void)signal(SIGCHLD, SIG_DFL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	fd = sigprocmask(SIG_BLOCK, &set, NULL) < 0
		     ? -1
		     : signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_errno(err, "cannot watch for signals") : fd;
}

static int receive_start(int run, struct net_message *start, struct error *err)
{
	uint8_t bytes[sizeof(*start) + 1];
	int n = net_message_receive(run, bytes, sizeof(bytes), 0, NULL, err);

	if (n < 0)
		return n;
	if (net_message_check_start(bytes, (size_t)n, err) < 0)
		return -err->code;
	memcpy(start, bytes, sizeof(*start));
	return 0;
}

/* An answer of @kind about the guest's network. */
static struct net_message answer(const struct keeper *k, enum net_message_kind kind)
{
	const struct rules_guest *g = &k->net.guest;
	struct net_message m = {
		.magic = NET_MAGIC,
		.kind = kind,
		.address = g->address,
		.gateway = g->gateway,
		.prefix = k->net.guest.prefix,
	};

	memcpy(m.mac, g->mac, sizeof(m.mac));
	memcpy(m.interface, g->name, sizeof(m.interface));
	return m;
}

static void send_failure(int run, const struct error *why)
{
	struct net_message m = { .magic = NET_MAGIC, .kind = NET_FAILED };
	struct error ignored = ERROR_INIT;
	size_t len = strnlen(why->text, sizeof(m.text) - 1);

	memcpy(m.text, why->text, len);
	(void)net_message_send(run, &m, sizeof(m), -1, &ignored);
}

static noreturn_ void become_talker(struct keeper *k, int sock, pid_t keeper)
{
	struct talker_setup setup = {
		.keeper_pid = keeper,
		.keeper = sock,
		.dhcp = k->net.dhcp,
		.dns_udp = k->net.dns_udp,
		.dns_tcp = k->net.dns_tcp,
		.address = k->net.guest.address,
		.gateway = k->net.guest.gateway,
		.prefix = k->net.guest.prefix,
		.mtu = k->net.mtu,
	};

	memcpy(setup.mac, k->net.guest.mac, sizeof(setup.mac));
	memcpy(setup.host_mac, k->net.host_mac, sizeof(setup.host_mac));
	_exit(talker_main(&setup));
}

/* Until it is in its sandbox. What went wrong with it stands on stderr. */
static int await_talker(int sock, struct error *err)
{
	struct talker_request request;

	if (recv(sock, &request, sizeof(request), 0) != (ssize_t)sizeof(request) ||
	    request.kind != TALKER_READY)
		return error_set(err, E_FAILED, "the talker of linzer-net did not start");
	return 0;
}

static int start_talker(struct keeper *k, struct error *err)
{
	int pair[2];
	pid_t keeper = getpid(), talker;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, "cannot make a socket pair");
	k->talker = pair[0];
	talker = fork();
	if (talker == 0)
		become_talker(k, pair[1], keeper);
	(void)close(pair[1]);
	return talker < 0 ? error_errno(err, "cannot fork") : await_talker(k->talker, err);
}

static int start(struct keeper *k, struct error *err)
{
	struct net_message request = { 0 }, started;
	struct net_conf conf;
	int r = receive_start(k->run, &request, err);

	if (r == 0)
		r = net_conf_load(&conf, err);
	if (r == 0)
		r = network_up(&k->net, &conf, request.mac, request.wanted, err);
	if (r == 0)
		r = start_talker(k, err);
	if (r == 0)
		r = privilege_reduce(err);
	if (r < 0)
		return r;
	started = answer(k, NET_STARTED);
	r = net_message_send(k->run, &started, sizeof(started), k->net.tap, err);
	network_close_sockets(&k->net);
	return r;
}

/* Return: 1 go on; 0 the talker ended; or error. */
static int serve_talker(struct keeper *k, struct error *err)
{
	struct talker_request request;
	struct net_message leased;
	ssize_t n = recv(k->talker, &request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof(request))
		return error_set(err, E_PROTOCOL, "the talker broke its protocol");
	switch (request.kind) {
	case TALKER_LEASED:
		leased = answer(k, NET_LEASED);
		/* full: `run` has not read the last ones yet, and needs no more of them */
		(void)net_message_send(k->run, &leased, sizeof(leased), -1,
				       &(struct error)ERROR_INIT);
		return 1;
	case TALKER_WANTS_UDP:
		r = resolvers_hand_out(k->talker, SOCK_DGRAM, request.number, err);
		return r < 0 ? r : 1;
	case TALKER_WANTS_TCP:
		r = resolvers_hand_out(k->talker, SOCK_STREAM, request.number, err);
		return r < 0 ? r : 1;
	default:
		return error_set(err, E_PROTOCOL, "the talker broke its protocol");
	}
}

/* Until `run` or the talker ends, or a signal comes. `run` has nothing more to say. */
static int serve(struct keeper *k, struct error *err)
{
	struct pollfd fds[] = {
		{ .fd = k->run, .events = POLLIN },
		{ .fd = k->signals, .events = POLLIN },
		{ .fd = k->talker, .events = POLLIN },
		{ .fd = k->net.events, .events = POLLIN },
	};
	int r = 1;

	while (r > 0) {
		if (poll(fds, array_size(fds), -1) < 0) {
			if (errno != EINTR)
				return error_errno(err, "cannot poll");
			continue;
		}
		if (fds[0].revents || fds[1].revents)
			return 0;
		if (fds[3].revents && network_look_after(&k->net, err) < 0)
			return -err->code;
		if (fds[2].revents)
			r = serve_talker(k, err);
	}
	return r;
}

static int live(struct keeper *k, struct error *err)
{
	struct error on_end = ERROR_INIT;
	int r = start(k, err);

	if (r < 0)
		send_failure(k->run, err);
	else
		r = serve(k, err);
	/* the talker leaves with its socket; one that will not is killed by our own end */
	cleanup_close_(&k->talker);
	if (network_down(&k->net, &on_end) < 0 && r == 0) {
		*err = on_end;
		r = -err->code;
	}
	return r;
}

int keeper_main(int run, struct error *err)
{
	struct keeper k = { .run = run, .talker = -1, .net = NETWORK_INIT };
	int r = check_caller(run, err);

	if (r < 0)
		return r;
	k.signals = open_signals(err);
	if (k.signals < 0 || privilege_take(err) < 0) {
		/* left unread, the request would turn our answer into ECONNRESET */
		(void)!recv(run, &(uint8_t){ 0 }, 1, 0);
		send_failure(run, err);
		return -err->code;
	}
	return live(&k, err);
}
