/* SPDX-License-Identifier: Apache-2.0 */
#include "net/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "net/card.h"
#include "net/exposed.h"
#include "net/message.h"
#include "net/policy_message.h"
#include "net/privilege.h"
#include "net/resolvers.h"
#include "net/talker.h"
#include "net/user_namespace.h"

enum { EXPIRY_MAX_MS = 60 * 1000, HEAR_OUT_MS = 1000, LEAVE_MS = 1000 };
enum { FD_RUN, FD_SIGNALS, FD_TALKER, FD_EVENTS, FD_HOLDER, FD_OUTSIDE };

struct keeper {
	int run;
	int signals;
	int talker; /* socket to it */
	pid_t talker_pid; /* 0: none */
	int names; /* socket to it: struct talker_names */
	uint32_t list; /* number of the last one sent there */
	struct net_start wish;
	int exposed[NET_EXPOSED_MAX];
	struct card card;
	bool isolated; /* in a namespace of its user's */
	struct user_namespace user;
	struct policy host_wide; /* isolated: root's rules, read before */
};

/* Static, not on the stack: pages that are never used cost nothing. */
static uint8_t packet[NET_POLICY_SIZE_MAX + 1];

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

static int receive_start(struct keeper *k, struct error *err)
{
	uint8_t bytes[sizeof(k->wish) + 1];
	int n = net_message_receive(k->run, bytes, sizeof(bytes), 0, NULL, err);

	if (n < 0)
		return n;
	if (net_message_check_start(bytes, (size_t)n, err) < 0)
		return -err->code;
	memcpy(&k->wish, bytes, sizeof(k->wish));
	return 0;
}

static void add_rules(struct policy *policy, const struct policy *from)
{
	for (size_t i = 0; i < from->rules.len; i++)
		policy_rules_add(&policy->rules, from->rules.items[i]);
}

/* Root's rules, then those of the packet. */
static int read_policy(const struct keeper *k, size_t len, struct policy *policy, struct error *err)
{
	auto_policy theirs = POLICY_INIT;
	int r = policy_message_read(packet, len, &theirs, err);

	if (r == 0 && !k->isolated)
		r = net_conf_load_rules(policy, err);
	if (r < 0)
		return r;
	add_rules(policy, &k->host_wide);
	add_rules(policy, &theirs);
	policy->names = theirs.names;
	policy->names_only = theirs.names_only;
	theirs.names = (struct strings)VEC_INIT;
	return 0;
}

static int receive_policy(struct keeper *k, struct policy *policy, struct error *err)
{
	int n = net_message_receive(k->run, packet, sizeof(packet), 0, NULL, err);

	return n < 0 ? n : read_policy(k, (size_t)n, policy, err);
}

/* Root may expose any port. */
static int check_ports(const struct keeper *k, const struct net_conf *conf, struct error *err)
{
	if (getuid() == 0)
		return 0;
	for (uint32_t i = 0; i < k->wish.exposed_count; i++)
		if (k->wish.exposed[i].host < conf->first_port)
			return error_set(err, EACCES,
					 "only root exposes ports below %u ('first-port' in '%s')",
					 conf->first_port, NET_CONF_PATH);
	return 0;
}

/* An answer of @kind about the guest's network. */
static struct net_message answer(const struct keeper *k, enum net_message_kind kind)
{
	struct net_message m = { .magic = NET_MAGIC, .kind = kind, .isolated = k->isolated };

	card_describe(&k->card, &m);
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

/*
 * Read what `run` still says until it closes: left unread, it would turn our last answer into
 * ECONNRESET. Who does not close is not waited for.
 */
static void hear_out(int run)
{
	struct pollfd fd = { .fd = run, .events = POLLIN };
	struct error ignored = ERROR_INIT;

	while (poll(&fd, 1, HEAR_OUT_MS) > 0)
		if (net_message_receive(run, packet, sizeof(packet), MSG_DONTWAIT, NULL, &ignored) <
		    0)
			return;
}

static noreturn_ void become_talker(const struct keeper *k, int sock, int names, pid_t keeper)
{
	struct talker_setup setup = {
		.keeper_pid = keeper,
		.keeper = sock,
		.names = names,
		.exposed_count = k->wish.exposed_count,
	};

	memcpy(setup.exposed, k->exposed, sizeof(setup.exposed));
	card_set_up_talker(&k->card, &setup);
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

static int make_pair(int *ours, int *theirs, struct error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, "cannot make a socket pair");
	*ours = pair[0];
	*theirs = pair[1];
	return 0;
}

/* What the policy's names are now. */
static int tell_names(struct keeper *k, struct error *err)
{
	static struct talker_names list;
	const struct policy *policy = card_policy(&k->card);
	const struct strings *names = &policy->names;
	size_t len = 0;

	list.list = ++k->list;
	list.count = (uint16_t)names->len;
	list.only = policy->names_only;
	for (size_t i = 0; i < names->len; i++) {
		size_t size = strlen(names->items[i]) + 1;

		if (size > sizeof(list.names) - len)
			return error_set(err, E_TOO_BIG, "the policy's names are too long");
		memcpy(list.names + len, names->items[i], size);
		len += size;
	}
	return net_message_send(k->names, &list, offsetof(struct talker_names, names) + len, -1,
				err);
}

static int start_talker(struct keeper *k, struct error *err)
{
	auto_fd talk = -1;
	auto_fd names = -1;
	pid_t keeper = getpid(), talker;

	/* the first list waits for it */
	if (make_pair(&k->talker, &talk, err) < 0 || make_pair(&k->names, &names, err) < 0 ||
	    tell_names(k, err) < 0)
		return -err->code;
	talker = fork();
	if (talker == 0)
		become_talker(k, talk, names, keeper);
	cleanup_close_(&talk); /* or its end would not be seen */
	talk = -1;
	if (talker < 0)
		return error_errno(err, "cannot fork");
	k->talker_pid = talker;
	return await_talker(k->talker, err);
}

/*
 * It leaves with its sockets, which are closed. Until then the exposed ports are open, and whoever
 * has waited for our own end takes them for free.
 */
static void await_talkers_end(const struct keeper *k)
{
	auto_fd end = k->talker_pid > 0 ? pidfd_open(k->talker_pid, 0) : -1;
	struct pollfd fd = { .fd = end, .events = POLLIN };

	if (end >= 0 && poll(&fd, 1, LEAVE_MS) == 0 && kill(k->talker_pid, SIGKILL) == 0)
		(void)poll(&fd, 1, LEAVE_MS);
}

static void close_exposed(struct keeper *k)
{
	for (unsigned i = 0; i < NET_EXPOSED_MAX; i++) {
		cleanup_close_(&k->exposed[i]);
		k->exposed[i] = -1;
	}
}

/* Whoever has no privilege of its own goes where it has. */
static int join(struct keeper *k, const struct net_conf *conf, struct error *err)
{
	const struct subnet pools[] = { conf->subnet, conf->host_subnet };
	int r;

	if (k->wish.mode == NET_BRIDGED)
		return error_set(
			err, EPERM,
			"--net-bridged needs root or, once, 'make install-caps' and to be in "
			"the group 'linzer'");
	r = user_namespace_join(&k->user, pools, array_size(pools), err);
	if (r < 0)
		return r;
	network_use_lock(k->user.lock_dir);
	return privilege_take(err);
}

static int make_network(struct keeper *k, struct error *err)
{
	auto_net_conf conf = NET_CONF_INIT;
	auto_policy policy = POLICY_INIT;
	int r = receive_start(k, err);

	if (r == 0 && k->isolated)
		r = net_conf_load_rules(&k->host_wide, err);
	if (r == 0)
		r = receive_policy(k, &policy, err);
	if (r == 0)
		r = net_conf_load(&conf, err);
	if (r == 0)
		r = check_ports(k, &conf, err);
	if (r == 0)
		r = exposed_listen(k->wish.exposed, k->wish.exposed_count, k->exposed, err);
	if (r == 0 && k->isolated)
		r = join(k, &conf, err);
	return r < 0 ? r : card_up(&k->card, &conf, &k->wish, &policy, err);
}

static int start(struct keeper *k, struct error *err)
{
	struct net_message started;
	int r = make_network(k, err);

	if (r == 0)
		r = start_talker(k, err);
	if (r == 0)
		r = privilege_reduce(err);
	if (r < 0)
		return r;
	started = answer(k, NET_STARTED);
	r = net_message_send(k->run, &started, sizeof(started), card_tap(&k->card), err);
	card_close_sockets(&k->card);
	close_exposed(k);
	return r;
}

/* Send on the talker's socket one byte, and with 1 the descriptor (unless it is -1). */
static int answer_talker(struct keeper *k, bool yes, int fd, struct error *err)
{
	const uint8_t byte = yes;

	return net_message_send(k->talker, &byte, 1, fd, err);
}

/* A connection to the guest, still on its way. */
static int dial_guest(struct keeper *k, unsigned number, struct error *err)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = k->card.routed.guest.address };
	auto_fd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (number >= k->wish.exposed_count)
		return error_set(err, E_PROTOCOL, "the talker broke its protocol");
	to.sin_port = htons(k->wish.exposed[number].guest);
	if (fd < 0 ||
	    (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS))
		return answer_talker(k, false, -1, err);
	return answer_talker(k, true, fd, err);
}

static int grant(struct keeper *k, const struct talker_request *request, struct error *err)
{
	int r;

	if (request->count > TALKER_ADDRESSES_MAX)
		return error_set(err, E_PROTOCOL, "the talker broke its protocol");
	/* the policy changed meanwhile: the guest asks again */
	if (request->list != k->list || request->name >= card_policy(&k->card)->names.len)
		return answer_talker(k, false, -1, err);
	r = network_grant(&k->card.routed, request->name, request->addresses, request->count,
			  request->ttl, err);
	return r < 0 ? r : answer_talker(k, r > 0, -1, err);
}

static int learn(struct keeper *k, const struct talker_request *request, struct error *err)
{
	struct net_message leased;
	int r = card_learn(&k->card, request->addresses[0], request->number == 1, err);

	if (r <= 0)
		return r;
	leased = answer(k, NET_LEASED);

	/* full: `run` has not read the last ones yet, and needs no more of them */
	(void)net_message_send(k->run, &leased, sizeof(leased), -1, &(struct error)ERROR_INIT);
	return 0;
}

static int serve_request(struct keeper *k, const struct talker_request *request, struct error *err)
{
	switch (request->kind) {
	case TALKER_LEASED:
		return learn(k, request, err);
	case TALKER_WANTS_UDP:
		return resolvers_hand_out(k->talker, k->user.outside, SOCK_DGRAM, request->number,
					  err);
	case TALKER_WANTS_TCP:
		return resolvers_hand_out(k->talker, k->user.outside, SOCK_STREAM, request->number,
					  err);
	case TALKER_WANTS_GUEST:
		return dial_guest(k, request->number, err);
	case TALKER_NAMED:
		return grant(k, request, err);
	default:
		return error_set(err, E_PROTOCOL, "the talker broke its protocol");
	}
}

/* Return: 1 go on; 0 the talker ended; or error. */
static int serve_talker(struct keeper *k, struct error *err)
{
	struct talker_request request;
	ssize_t n = recv(k->talker, &request, sizeof(request), MSG_DONTWAIT | MSG_TRUNC);
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof(request))
		return error_set(err, E_PROTOCOL, "the talker broke its protocol");
	r = serve_request(k, &request, err);
	return r < 0 ? r : 1;
}

/* After a failure the old one stays. */
static int change_policy(struct keeper *k, size_t len, struct error *err)
{
	auto_policy policy = POLICY_INIT;
	int r = read_policy(k, len, &policy, err);

	return r < 0 ? r : card_set_policy(&k->card, &policy, err);
}

/*
 * An answer that cannot be sent is an error: `run` waits for it. So is half a change:
 * better no network than one that carries what it should not.
 */
static int serve_change(struct keeper *k, size_t len, struct error *err)
{
	struct error why = ERROR_INIT;
	struct net_message done = answer(k, NET_CHANGED);

	if (change_policy(k, len, &why) < 0) {
		send_failure(k->run, &why);
		return 1;
	}
	if (card_cut_flows(&k->card, err) < 0 || tell_names(k, err) < 0)
		return -err->code;
	return net_message_send(k->run, &done, sizeof(done), -1, err) < 0 ? -err->code : 1;
}

static int serve_count(struct keeper *k, size_t len, struct error *err)
{
	struct error why = ERROR_INIT;
	struct net_message counted = answer(k, NET_COUNTED);

	if (net_message_check_count(packet, len, err) < 0)
		return -err->code;
	if (card_count(&k->card, &counted.drops, &why) < 0) {
		send_failure(k->run, &why);
		return 1;
	}
	return net_message_send(k->run, &counted, sizeof(counted), -1, err) < 0 ? -err->code : 1;
}

/* Return: 1 go on; 0 `run` ended; or error. */
static int serve_run(struct keeper *k, struct error *err)
{
	int n = net_message_receive(k->run, packet, sizeof(packet), MSG_DONTWAIT, NULL, err);

	if (n == -EAGAIN)
		return 1;
	if (n < 0) /* also for ECONNRESET: it was killed with something of ours unread */
		return 0;
	switch (net_message_kind(packet, (size_t)n)) {
	case NET_POLICY:
		return serve_change(k, (size_t)n, err);
	case NET_COUNT:
		return serve_count(k, (size_t)n, err);
	default:
		return error_set(err, E_PROTOCOL, "network helper: not a request");
	}
}

/* Until the next address of a name may end (ms), -1: none will. */
static int next_timeout(const struct keeper *k)
{
	uint64_t next = granted_next(&k->card.routed.granted), now = clock_ms();

	if (next == UINT64_MAX)
		return -1;
	if (next <= now)
		return 0;
	return next - now < EXPIRY_MAX_MS ? (int)(next - now) : EXPIRY_MAX_MS;
}

/* One round. Return: 1 go on; 0 the end; or error. */
static int serve_ready(struct keeper *k, const struct pollfd *fds, struct error *err)
{
	int r = 1;

	if (fds[FD_SIGNALS].revents)
		return 0;
	if (fds[FD_HOLDER].revents || fds[FD_OUTSIDE].revents)
		return error_set(err, E_FAILED, "a process of the user's network ended");
	if (fds[FD_EVENTS].revents && card_look_after(&k->card, err) < 0)
		return -err->code;
	if (fds[FD_RUN].revents)
		r = serve_run(k, err);
	if (r > 0 && fds[FD_TALKER].revents)
		r = serve_talker(k, err);
	if (r > 0 && next_timeout(k) == 0 && network_expire(&k->card.routed, err) < 0)
		return -err->code;
	return r;
}

/* Until `run`, the talker or the user's namespace ends, or a signal comes. */
static int serve(struct keeper *k, struct error *err)
{
	struct pollfd fds[] = {
		[FD_RUN] = { .fd = k->run, .events = POLLIN },
		[FD_SIGNALS] = { .fd = k->signals, .events = POLLIN },
		[FD_TALKER] = { .fd = k->talker, .events = POLLIN },
		[FD_EVENTS] = { .fd = card_events(&k->card), .events = POLLIN },
		[FD_HOLDER] = { .fd = k->user.holder, .events = POLLIN },
		[FD_OUTSIDE] = { .fd = k->user.outside, .events = POLLIN },
	};
	int r = 1;

	while (r > 0) {
		if (poll(fds, array_size(fds), next_timeout(k)) >= 0)
			r = serve_ready(k, fds, err);
		else if (errno != EINTR)
			r = error_errno(err, "cannot poll");
	}
	return r;
}

static int live(struct keeper *k, struct error *err)
{
	struct error on_end = ERROR_INIT;
	int r = start(k, err);
	bool started = r == 0;

	if (started)
		r = serve(k, err);
	else
		send_failure(k->run, err);
	cleanup_close_(&k->talker);
	cleanup_close_(&k->names);
	close_exposed(k);
	if (card_down(&k->card, &on_end) < 0 && r == 0) {
		*err = on_end;
		r = -err->code;
	}
	await_talkers_end(k);
	user_namespace_leave(&k->user);
	policy_release(&k->host_wide);
	if (!started)
		hear_out(k->run);
	return r;
}

/* Static, as the packet: the table of granted addresses is rarely used. */
static struct keeper the_keeper;

static void init(struct keeper *k, int run)
{
	*k = (struct keeper){
		.run = run,
		.talker = -1,
		.names = -1,
		.card = CARD_INIT,
		.user = USER_NAMESPACE_INIT,
		.host_wide = POLICY_INIT,
	};
	for (unsigned i = 0; i < NET_EXPOSED_MAX; i++)
		k->exposed[i] = -1;
}

int keeper_main(int run, struct error *err)
{
	struct keeper *k = &the_keeper;
	int r = check_caller(run, err);

	if (r < 0)
		return r;
	init(k, run);
	k->signals = open_signals(err);
	k->isolated = user_namespace_needed();
	if (k->signals < 0 || (!k->isolated && privilege_take(err) < 0)) {
		send_failure(run, err);
		hear_out(run);
		return -err->code;
	}
	return live(k, err);
}
